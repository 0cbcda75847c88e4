"""One migrated database for all workers of a run: the first makes it, the others copy it.

Migrating takes some ten seconds of CPU, and each worker has a database of its own.
"""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test.utils import setup_databases, teardown_databases
from psycopg_pool import ConnectionPool

SUFFIX = "template"
Databases = list[tuple[BaseDatabaseWrapper, str, bool]]


def set_up() -> Databases:
    """Make this worker's test database; return what `teardown_databases` takes."""
    if not os.environ.get("OBSERVATORY_WORKER"):
        return setup_databases(verbosity=0, interactive=False)
    folder = Path(os.environ["OBSERVATORY_SUITE_DIR"]).parent
    name_of_template = folder / "template-database.txt"
    with _locked(folder / "template-database.lock"):
        if not name_of_template.exists():
            made = setup_databases(verbosity=0, interactive=False)
            connection.close()  # SQLite's write-ahead log goes into the file that is copied
            connection.creation.clone_test_db(SUFFIX, verbosity=0)
            settings = connection.creation.get_test_db_clone_settings(SUFFIX)
            name_of_template.write_text(str(settings["NAME"]), encoding="utf-8")
            return made
    return _copy_of(name_of_template.read_text(encoding="utf-8"))


def tear_down(databases: Databases) -> None:
    """Delete this worker's test database, once all who were connected to it have left."""
    if connection.vendor == "postgresql":
        wait_until_all_have_left()
    teardown_databases(databases, verbosity=0)


def wait_until_all_have_left(within_s: float = 10.0) -> None:
    """Leave PostgreSQL's database, and wait until the server has ended everybody's session.

    A session ends a moment after its client has closed it.

    Raises:
        AssertionError: somebody stays for longer, so a test has forgotten a connection.
    """
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]
    sessions = (
        "SELECT pid, backend_type, application_name, state, backend_start, state_change, query "
        "FROM pg_stat_activity WHERE datname = %s"
    )
    name, deadline = connection.settings_dict["NAME"], time.monotonic() + within_s
    next_collection = time.monotonic() + 1.0
    with connection.creation._nodb_cursor() as cursor:  # type: ignore[attr-defined]
        while forgotten := cursor.execute(sessions, [name]).fetchall():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"these sessions did not end: {forgotten}; this process has {_connections()}"
                )
            _close_pools()
            time.sleep(0.02)
            if time.monotonic() > next_collection:
                # What nobody can reach any more is not forgotten: an error may hold it in a circle.
                gc.collect()
                next_collection = time.monotonic() + 1.0


def _close_pools() -> None:
    """Close pools of Django's that nobody can reach any more, with their spare connections.

    A thread of an event loop that has ended may still have opened one, after `close_pool`.
    """
    for found in gc.get_objects():
        if type(found) is ConnectionPool and not found.closed:  # isinstance() wakes lazy objects
            found.close()


def _connections() -> list[str]:
    """Describe this process's open connections to PostgreSQL, and what refers to each."""
    found = []
    for one in gc.get_objects():
        if type(one) in (psycopg.Connection, psycopg.AsyncConnection) and not one.closed:
            holders = Counter(type(holder).__name__ for holder in gc.get_referrers(one))
            found.append(f"{type(one).__name__} {one.info.backend_pid}, held by {dict(holders)}")
    return found


def _copy_of(template: str) -> Databases:
    if connection.vendor == "sqlite":
        shutil.copy(template, connection.creation._get_test_db_name())  # type: ignore[attr-defined]
        return setup_databases(verbosity=0, interactive=False, keepdb=True)
    connection.settings_dict["TEST"]["TEMPLATE"] = template
    return setup_databases(verbosity=0, interactive=False)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
