"""Databases of former releases beside the test's own: SQLite files or PostgreSQL databases."""

from __future__ import annotations

import gzip
import os
import re
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psycopg
from django.conf import settings
from django.db import connection
from django.db.utils import load_backend

ROOT = Path(__file__).parents[2]
RELEASES = ROOT / "tests" / "data" / "releases"
ARCHIVE = RELEASES / "3315b11.tar.xz"
PATIENCE_S = 240.0


class Database:
    """One database that is not the test's, by its URL and by statements."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def url(self) -> str:
        if connection.vendor == "sqlite":
            return f"sqlite:///{self.name}"
        config = connection.settings_dict
        return f"postgres://{config['USER']}@/{config['HOST']}/{self.name}"

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Execute one statement and return its rows."""
        if connection.vendor == "sqlite":
            with sqlite3.connect(self.name) as sqlite:
                rows = sqlite.execute(statement).fetchall()
            sqlite.close()
            return rows
        with psycopg.connect(self._conninfo) as postgres:
            cursor = postgres.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def load(self, release: str) -> None:
        """Load what an installation of a release held."""
        dump = RELEASES / f"{release}.{connection.vendor}.sql.gz"
        text = gzip.decompress(dump.read_bytes()).decode()
        if connection.vendor == "sqlite":
            with sqlite3.connect(self.name) as sqlite:
                sqlite.executescript(text)
            sqlite.close()
            return
        text = text.replace("SET transaction_timeout = 0;", "")  # older servers know none
        with psycopg.connect(self._conninfo) as postgres:
            postgres.execute(text)

    def migrate(self, root: Path = ROOT) -> None:
        """Have `manage.py migrate` of a checkout make or upgrade the tables."""
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
            cwd=root,
            env=plain_environment(self.url, root),
            check=True,
            timeout=PATIENCE_S,
        )

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """Yield a connection of Django's to it."""
        # Pools go by the alias: with one, this would be a connection to the test's own database.
        options = {k: v for k, v in connection.settings_dict["OPTIONS"].items() if k != "pool"}
        config = {**connection.settings_dict, "NAME": self.name, "OPTIONS": options}
        wrapper = load_backend(config["ENGINE"]).DatabaseWrapper(config, "default")
        try:
            yield wrapper
        finally:
            wrapper.close()

    @property
    def _conninfo(self) -> str:
        config = connection.settings_dict
        return f"host={config['HOST']} user={config['USER']} dbname={self.name}"


@contextmanager
def new_database() -> Iterator[Database]:
    """Yield an empty database, which is gone afterwards."""
    if connection.vendor == "sqlite":
        with TemporaryDirectory(prefix="observatory-upgrade-") as folder:
            yield Database(f"{folder}/upgraded.sqlite3")
        return
    name = f"upgraded_{uuid4().hex[:12]}"
    server = Database("postgres")
    with psycopg.connect(server._conninfo, autocommit=True) as postgres:
        postgres.execute(f"CREATE DATABASE {name}")
        try:
            yield Database(name)
        finally:
            postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def old_checkout() -> Iterator[Path]:
    """Yield a folder with the code of 3315b11."""
    with TemporaryDirectory(prefix="observatory-3315b11-") as folder:
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)


def plain_environment(url: str, root: Path) -> dict[str, str]:
    """Return the environment of an installation that has nothing but a database and a cache."""
    names = re.findall(
        r'env\.\w+\(\s*"([A-Z_]+)"', (root / "observatory" / "settings.py").read_text()
    )
    return {
        **{name: value for name, value in os.environ.items() if name not in names},
        **dict.fromkeys(names, ""),
        "DJANGO_DEBUG": "true",
        "DJANGO_SETTINGS_MODULE": "observatory.settings",
        "DATABASE_URL": url,
        "CACHE_URL": str(settings.CACHE_URL),
    }
