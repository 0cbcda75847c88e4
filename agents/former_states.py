"""Tables that earlier commits made, brought to what their migrations say today.

Before 1.0 some migrations were edited after they were committed, so tables that were made earlier
lack indexes, have others, or have them in another shape. What is there is looked at, and only what
differs is changed: on a fresh database that is nothing. What operators added stays.

Migrations use this: a later change of it must leave what it comes to as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.db import migrations, models

TWIN = "observatory_twin"
# On PostgreSQL an index is compared as the server writes it, which a twin without rows tells.
_DEFINITIONS = """
    SELECT index.relname, regexp_replace(pg_get_indexdef(index.oid), '^.* USING ', '')
      FROM pg_index JOIN pg_class AS index ON index.oid = pg_index.indexrelid
     WHERE pg_index.indrelid = %s::regclass"""


def mend(app: str, leftovers: Iterable[str] = ()) -> migrations.RunPython:
    """Return the operation that mends the tables of an app; it can be done any number of times.

    `leftovers` are indexes of former states: by name, or by `model.field` where Django named them.
    """
    names = tuple(leftovers)

    def forwards(apps: Any, schema_editor: Any) -> None:
        _remove_leftovers(apps, schema_editor, app, names)
        for model in apps.get_app_config(app).get_models():
            if model._meta.managed and not model._meta.proxy:
                _add_missing_columns(schema_editor, model)
                _mend_constraints(schema_editor, model)
                _mend_indexes(schema_editor, model)

    return migrations.RunPython(forwards, migrations.RunPython.noop)


def _remove_leftovers(apps: Any, schema_editor: Any, app: str, names: Iterable[str]) -> None:
    for name in names:
        model_name, _, field_name = name.partition(".")
        if field_name:
            model = apps.get_model(app, model_name)
            field: Any = model._meta.get_field(field_name)
            prefix = f"{model._meta.db_table}_{field.column}_"
            found = [each for each in _constraints(schema_editor, model) if each.startswith(prefix)]
            unwanted = set(found) - {index.name for index in model._meta.indexes}
        else:
            unwanted = {name}
        for each in sorted(unwanted):
            schema_editor.execute(f"DROP INDEX IF EXISTS {schema_editor.quote_name(each)}")


def _add_missing_columns(schema_editor: Any, model: type[models.Model]) -> None:
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        there = {
            column.name
            for column in connection.introspection.get_table_description(
                cursor, model._meta.db_table
            )
        }
    for field in model._meta.local_concrete_fields:
        if field.column not in there:
            schema_editor.add_field(model, field)


def _mend_constraints(schema_editor: Any, model: type[models.Model]) -> None:
    there = _constraints(schema_editor, model)
    for constraint in model._meta.constraints:
        if constraint.name not in there:
            schema_editor.add_constraint(model, constraint)


def _mend_indexes(schema_editor: Any, model: type[models.Model]) -> None:
    """Make the named indexes that are missing, and make those anew that are in another shape."""
    wanted = {index.name: index for index in model._meta.indexes}
    there = _constraints(schema_editor, model)
    is_as_wanted = _comparison(schema_editor, model, wanted)
    for name, index in wanted.items():
        if name in there and not is_as_wanted(name):
            schema_editor.execute(f"DROP INDEX {schema_editor.quote_name(name)}")
        elif name in there:
            continue
        schema_editor.add_index(model, index)
    _add_field_indexes(schema_editor, model)


def _add_field_indexes(schema_editor: Any, model: type[models.Model]) -> None:
    """Make the indexes of single columns that have none."""
    there = _constraints(schema_editor, model).values()
    first_columns = {(found["columns"] or [None])[0] for found in there if found["index"]}
    fields: Iterable[Any] = model._meta.local_concrete_fields
    for field in fields:
        if field.db_index and not field.unique and field.column not in first_columns:
            schema_editor.execute(schema_editor._create_index_sql(model, fields=[field]))


def _comparison(
    schema_editor: Any, model: type[models.Model], wanted: Mapping[str, models.Index]
) -> Callable[[str], bool]:
    """Return what tells whether the index of a name is in the shape that is wanted."""
    if schema_editor.connection.vendor == "sqlite":
        there = _sqlite_definitions(schema_editor, model)
        shapes = {
            name: str(index.create_sql(model, schema_editor)) for name, index in wanted.items()
        }
    else:
        there = _definitions(schema_editor, schema_editor.quote_name(model._meta.db_table))
        shapes = _shapes_on_a_twin(schema_editor, model, wanted.values())
    return lambda name: there[name] == shapes[name]


def _sqlite_definitions(schema_editor: Any, model: type[models.Model]) -> dict[str, str]:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = %s",
            [model._meta.db_table],
        )
        return dict(cursor.fetchall())


def _shapes_on_a_twin(
    schema_editor: Any, model: type[models.Model], indexes: Iterable[models.Index]
) -> dict[str, str]:
    table, twin = (schema_editor.quote_name(name) for name in (model._meta.db_table, TWIN))
    schema_editor.execute(f"CREATE TEMPORARY TABLE {twin} (LIKE {table})")
    for index in indexes:
        statement: Any = index.create_sql(model, schema_editor)
        statement.rename_table_references(model._meta.db_table, TWIN)
        schema_editor.execute(statement)
    shapes = _definitions(schema_editor, f"pg_temp.{twin}")
    schema_editor.execute(f"DROP TABLE pg_temp.{twin}")
    return shapes


def _definitions(schema_editor: Any, table: str) -> dict[str, str]:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(_DEFINITIONS, [table])
        return dict(cursor.fetchall())


def _constraints(schema_editor: Any, model: type[models.Model]) -> dict[str, Any]:
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    return dict(found)
