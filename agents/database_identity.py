"""Which database this process is connected to: a name that no other database has, not even a copy.

Every key in the cache carries it, because installations share caches. A dump copies the random id
that the migration stored, and two addresses may lead to one database (a pooler has its own), so
the server is asked as well: PostgreSQL for its system identifier and the database's oid, SQLite for
the path of its file, whose inode the file system knows. `DATABASE_URL` plays no part in it.

A copy of a whole PostgreSQL cluster, or of a disk, has the same name. Then the two installations
learn of each other's changes, and a change of one costs the other a query of its own table.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from django.db import connections

# Not a Django model: `flush` must not empty it and `loaddata` must not bring another database's.
TABLE = "agents_database_identity"

_RANDOM_ID_SQL = f"SELECT random_id FROM {TABLE} WHERE id = 1"  # noqa: S608 - our own table
_SQLITE_FILE_SQL = "SELECT file FROM pragma_database_list WHERE name = 'main'"
# Every role may call pg_control_system(), unless an administrator revoked that; to be refused
# would end the transaction around us. pg_database: 1 row, whatever is connected in between.
_POSTGRESQL_SQL = """
    SELECT oid, has_function_privilege('pg_catalog.pg_control_system()', 'execute')
    FROM pg_catalog.pg_database WHERE datname = current_database()
"""
_SYSTEM_IDENTIFIER_SQL = "SELECT system_identifier FROM pg_catalog.pg_control_system()"


def read_identity() -> str:
    """Ask the database of this thread's connection who it is; return 20 hex digits.

    Raises:
        django.db.Error: the database does not answer, or was not migrated.
    """
    random_id = str(_value(_RANDOM_ID_SQL) or "")  # none: the row was deleted by hand
    is_sqlite = connections["default"].vendor == "sqlite"
    return identity_of(random_id, *(_sqlite_facts() if is_sqlite else _postgresql_facts()))


def identity_of(*facts: str) -> str:
    """Return the identity made of these facts; processes of two releases must agree on it."""
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:20]


def _sqlite_facts() -> tuple[str, ...]:
    path = str(_value(_SQLITE_FILE_SQL) or "")
    if not path:  # in memory, where only this process sees it
        return "memory", str(os.getpid())
    try:
        inode = Path(path).stat().st_ino
    except FileNotFoundError:  # removed since it was opened
        inode = 0
    return "sqlite", os.path.realpath(path), str(inode)


def _postgresql_facts() -> tuple[str, ...]:
    with connections["default"].cursor() as cursor:
        cursor.execute(_POSTGRESQL_SQL)
        oid, may_ask = cursor.fetchone()
    system = str(_value(_SYSTEM_IDENTIFIER_SQL)) if may_ask else "unknown"
    return "postgresql", system, str(oid)


def _value(sql: str) -> object:
    with connections["default"].cursor() as cursor:
        cursor.execute(sql)
        row = cursor.fetchone()
    return row[0] if row else None
