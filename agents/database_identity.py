"""A unique identity of the database that this process is connected to; a restored dump differs.

Cache keys contain the identity, because installations may share a cache. It combines the random id
that the migration stored with facts from the server, because a dump copies the random id. For
PostgreSQL, these are the system identifier and the database's oid; for SQLite, the file's path and
inode. `DATABASE_URL` is not used, because two addresses may lead to one database (a connection
pooler has its own).

A copy of a whole PostgreSQL cluster, or of a disk, has the same identity. Then each of the two
installations is notified of the other's changes, and a change of one costs the other a query of its
own table.
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
# Every role may call pg_control_system() unless an administrator revoked that. The privilege is
# checked first, because a refusal would abort the surrounding transaction. pg_database always
# yields one row for the current database, even through a pooler.
_POSTGRESQL_SQL = """
    SELECT oid, has_function_privilege('pg_catalog.pg_control_system()', 'execute')
    FROM pg_catalog.pg_database WHERE datname = current_database()
"""
_SYSTEM_IDENTIFIER_SQL = "SELECT system_identifier FROM pg_catalog.pg_control_system()"


def read_identity() -> str:
    """Return the identity of the database of this thread's connection, as 20 hex digits.

    Raises:
        django.db.Error: the database does not answer, or has not been migrated.
    """
    random_id = str(_value(_RANDOM_ID_SQL) or "")  # "" if the row was deleted by hand
    is_sqlite = connections["default"].vendor == "sqlite"
    return identity_of(random_id, *(_sqlite_facts() if is_sqlite else _postgresql_facts()))


def identity_of(*facts: str) -> str:
    """Return a hash that identifies a database by `facts`. Never change how it is computed.

    During a deployment, processes of the old and the new release must get the same value.
    """
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:20]


def _sqlite_facts() -> tuple[str, ...]:
    path = str(_value(_SQLITE_FILE_SQL) or "")
    if not path:  # an in-memory database, which only this process can see
        return "memory", str(os.getpid())
    try:
        inode = Path(path).stat().st_ino
    except FileNotFoundError:  # deleted while open
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
