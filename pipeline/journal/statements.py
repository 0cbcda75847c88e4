"""INSERT, UPDATE and SELECT with cached SQL, for the rows written with every step, call and text.

Django builds the SQL anew each time, which takes several times as long as executing it
(`bench/RESULTS.md`). The journal needs only these few statements. Conditions compare columns with
values for equality; None is not allowed. Values are converted by the models' own fields in
both directions, so the ORM and this module read each other's rows; signals are not sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, TypeAlias

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, Model

Fields: TypeAlias = "list[Field[Any, Any]]"
Converter = Callable[[Any, Any, Any], Any]


class Lock(Enum):
    """What other transactions may not do to the rows that were read, until this one ends.

    On SQLite a writing transaction keeps all other writers out from its start.
    """

    NONE = ""
    CHANGE = " FOR NO KEY UPDATE"  # change them, or take this lock
    DELETE = " FOR KEY SHARE"  # delete them; PostgreSQL takes this lock for a foreign key


def insert(model: type[Model], row: Mapping[str, Any]) -> None:
    """Insert a row, including its key; columns that `row` leaves out get their defaults."""
    sql, fields, rest = _insertion(model, tuple(row), False)
    _executed(sql, fields, [*row.values(), *(field.get_default() for field in rest)])


def insert_missing(model: type[Model], rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows that do not exist and return their number; all name the same columns."""
    sql, fields, rest = _insertion(model, tuple(rows[0]), True)
    database = _database()
    defaults = [field.get_default() for field in rest]
    values = [_adapted(fields, [*row.values(), *defaults], database) for row in rows]
    with database.cursor() as cursor:
        cursor.executemany(sql, values)
        return int(cursor.rowcount)


def update(model: type[Model], changes: Mapping[str, Any], **where: Any) -> int:
    """Update the rows whose columns equal the values in `where`; return their number."""
    sql, fields = _change(model, tuple(changes), tuple(where))
    return _executed(sql, fields, [*changes.values(), *where.values()])


def read(
    model: type[Model], names: Sequence[str], *, lock: Lock = Lock.NONE, **where: Any
) -> list[tuple[Any, ...]]:
    """Return the named columns of the rows whose columns equal the values in `where`, unordered."""
    database = _database()
    sql, fields, columns = _selection(model, tuple(names), lock, tuple(where))
    with database.cursor() as cursor:
        cursor.execute(sql, _adapted(fields, where.values(), database))
        rows = cursor.fetchall()
    return [
        tuple(_read(value, *column, database) for value, column in zip(row, columns, strict=True))
        for row in rows
    ]


def read_any(
    model: type[Model], name: str, values: Sequence[Any], *, lock: Lock = Lock.NONE
) -> set[Any]:
    """Return those of the values that a row has in this column, and lock the rows in their order.

    For PostgreSQL only; on SQLite there is nothing to lock.
    """
    (field,) = _fields(model, (name,))
    column = _quoted(field)
    sql = (
        f"SELECT {column} FROM {_table(model)} WHERE {column} = ANY(%s)"  # noqa: S608
        f" ORDER BY {column}{lock.value}"
    )
    with _database().cursor() as cursor:
        cursor.execute(sql, [list(values)])
        return {value for (value,) in cursor.fetchall()}


# --- built once ---------------------------------------------------------------------------------


@cache
def _insertion(
    model: type[Model], names: tuple[str, ...], unless_there: bool
) -> tuple[str, Fields, Fields]:
    named = _fields(model, names)
    rest = [field for field in model._meta.local_concrete_fields if field not in named]
    columns = ", ".join(_quoted(field) for field in named + rest)
    values = ", ".join(["%s"] * len(named + rest))
    end = " ON CONFLICT DO NOTHING" if unless_there else ""
    sql = f"INSERT INTO {_table(model)} ({columns}) VALUES ({values}){end}"  # noqa: S608
    return sql, named + rest, rest


@cache
def _change(
    model: type[Model], names: tuple[str, ...], where: tuple[str, ...]
) -> tuple[str, Fields]:
    fields, conditions = _fields(model, names), _fields(model, where)
    changes = ", ".join(f"{_quoted(field)} = %s" for field in fields)
    return (
        f"UPDATE {_table(model)} SET {changes} WHERE {_all_equal(conditions)}",  # noqa: S608
        fields + conditions,
    )


@cache
def _selection(
    model: type[Model], names: tuple[str, ...], lock: Lock, where: tuple[str, ...]
) -> tuple[str, Fields, list[tuple[Any, list[Converter]]]]:
    fields, conditions = _fields(model, names), _fields(model, where)
    columns = ", ".join(_quoted(field) for field in fields)
    end = lock.value if _database().features.has_select_for_update else ""
    sql = f"SELECT {columns} FROM {_table(model)} WHERE {_all_equal(conditions)}{end}"  # noqa: S608
    return sql, conditions, [_converted(field) for field in fields]


def _fields(model: type[Model], names: Sequence[str]) -> Fields:
    fields = [model._meta.get_field(name) for name in names]
    return [field for field in fields if isinstance(field, Field)]


def _converted(field: Field[Any, Any]) -> tuple[Any, list[Converter]]:
    column, database = field.get_col(field.model._meta.db_table), _database()
    return column, database.ops.get_db_converters(column) + column.get_db_converters(database)


def _all_equal(fields: Fields) -> str:
    return " AND ".join(f"{_quoted(field)} = %s" for field in fields)


def _quoted(field: Field[Any, Any]) -> str:
    return _database().ops.quote_name(field.column)


def _table(model: type[Model]) -> str:
    return _database().ops.quote_name(model._meta.db_table)


# --- each time ----------------------------------------------------------------------------------


def _database() -> BaseDatabaseWrapper:
    return connections["default"]


def _executed(sql: str, fields: Fields, values: Iterable[Any]) -> int:
    database = _database()
    with database.cursor() as cursor:
        cursor.execute(sql, _adapted(fields, values, database))
        return int(cursor.rowcount)


def _adapted(fields: Fields, values: Iterable[Any], database: BaseDatabaseWrapper) -> list[Any]:
    return [
        field.get_db_prep_value(value, database)
        for field, value in zip(fields, values, strict=True)
    ]


def _read(
    value: Any, column: Any, converters: list[Converter], database: BaseDatabaseWrapper
) -> Any:
    for convert in converters:
        value = convert(value, column, database)
    return value
