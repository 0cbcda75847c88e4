"""What a database is made of, as the server itself says it, for comparing one with another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.db import connection

from tests.upgrades.databases import Database

_COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
           pg_get_expr(d.adbin, d.adrelid), a.attidentity::text
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
      LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
     WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND NOT a.attisdropped"""
_INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
_CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
     WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f', 'p', 'u')"""
_NOT_OURS = ("procrastinate", "sqlite_")  # the library's own; the server's own


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    type: str
    is_required: bool
    default: str | None


@dataclass(frozen=True, slots=True)
class Schema:
    """All tables: their columns by name, and the rest as sorted lines."""

    columns: dict[tuple[str, str], Column]
    rest: frozenset[tuple[str, ...]]

    @property
    def tables(self) -> set[str]:
        return {table for table, _ in self.columns}


def schema_of(database: Database) -> Schema:
    """Return what a database is made of."""
    if connection.vendor == "sqlite":
        return _sqlite(database)
    columns = {
        (table, name): Column(type_, is_required, default if not identity else f"id {identity}")
        for table, name, type_, is_required, default, identity in database.rows(_COLUMNS)
        if _is_ours(table)
    }
    rest = [*database.rows(_INDEXES), *database.rows(_CONSTRAINTS)]
    return Schema(columns, frozenset(row for row in rest if _is_ours(row[0])))


def _sqlite(database: Database) -> Schema:
    columns: dict[tuple[str, str], Column] = {}
    rest: set[tuple[str, ...]] = set()
    rows = database.rows("SELECT type, tbl_name, name, sql FROM sqlite_master")
    for type_, table, name, sql in rows:
        if not _is_ours(table):
            continue
        if type_ == "index":
            rest.add((table, name, sql) if sql else (table, *_columns_of(database, name)))
        elif type_ == "table":
            for _, column, kind, required, default, key, _ in database.rows(
                f'PRAGMA table_xinfo("{table}")'
            ):
                columns[table, column] = Column(kind, bool(required or key), default)
            rest |= {
                (table, *map(str, row[2:]))
                for row in database.rows(f'PRAGMA foreign_key_list("{table}")')
            }
            rest |= {(table, check) for check in _checks(sql)}
    return Schema(columns, frozenset(rest))


def _columns_of(database: Database, index: str) -> list[str]:
    return ["unique", *(str(row[2]) for row in database.rows(f'PRAGMA index_info("{index}")'))]


def _checks(sql: str) -> list[str]:
    """Return the CHECK clauses of a CREATE TABLE, each to the bracket that closes it."""
    found = []
    for match in re.finditer(r"CHECK \(", sql):
        depth, end = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(sql[end], 0)
            end += 1
        found.append(sql[match.start() : end])
    return found


def _is_ours(table: Any) -> bool:
    return not str(table).removeprefix("public.").startswith(_NOT_OURS)
