"""A second installation's database: the test's own, copied as an operator would copy it."""

from __future__ import annotations

import copy
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from django.db import connection, connections
from django.db.utils import load_backend

from agents.database_identity import read_identity
from tests.agents.doubles import in_other_thread
from tests.servers import POSTGRES_TOOLS


@contextmanager
def copied_database() -> Iterator[dict[str, Any]]:
    """Yield the settings of a copied file, or of a dump restored into the same cluster."""
    config = connection.settings_dict
    if connection.vendor == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "copy.sqlite3"
            with (
                closing(sqlite3.connect(config["NAME"])) as original,
                closing(sqlite3.connect(path)) as target,
            ):
                original.backup(target)
            yield {**config, "NAME": str(path)}
        return
    name = f"{config['NAME']}_restored"
    dump = _tool("pg_dump", "--format=custom", config["NAME"])
    _tool("createdb", name)
    try:
        _tool("pg_restore", "--exit-on-error", "--dbname", name, stdin=dump)
        yield {**config, "NAME": name}
    finally:
        _tool("dropdb", "--force", name)


def url_of(config: dict[str, Any]) -> str:
    if connection.vendor == "sqlite":
        return f"sqlite:///{config['NAME']}"
    return f"postgres://{config['USER']}@/{config['HOST']}/{config['NAME']}"


def identity_at(config: dict[str, Any], before: str = "") -> str:
    """Return what a process with these settings takes its database for; `before` is SQL."""

    def read() -> str:
        config_of_a_process = copy.deepcopy(config)
        config_of_a_process["OPTIONS"].pop("pool", None)
        backend = load_backend(config["ENGINE"])
        connections["default"] = backend.DatabaseWrapper(config_of_a_process, "default")
        if before:
            with connections["default"].cursor() as cursor:
                cursor.execute(before)
        return read_identity()

    return in_other_thread(read)


def _tool(name: str, *arguments: str, stdin: bytes = b"") -> bytes:
    config = connection.settings_dict
    address = ("--host", config["HOST"], "--username", config["USER"], "--no-password")
    return subprocess.run(
        [POSTGRES_TOOLS / name, *address, *arguments],
        input=stdin,
        capture_output=True,
        check=True,
        timeout=120,
    ).stdout
