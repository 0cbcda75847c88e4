"""Empties the tables after a TransactionTestCase faster than Django's `flush` does.

`flush` also empties the content types and permissions, and makes them anew after every such test:
two thirds of its time. They are the same in every database, so here they stay, unless a test
changed them.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.color import no_style
from django.db import connections
from django.test import TransactionTestCase

STAYING = {ContentType._meta.db_table, Permission._meta.db_table}

_flush = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]
_permissions: dict[str, set[Any]] = {}  # of each database, as its first test found them


def install() -> None:
    """Use this in every TransactionTestCase of the process."""
    for alias in connections:
        _permissions[alias] = _permissions_of(alias)
    TransactionTestCase._fixture_teardown = _empty  # type: ignore[attr-defined]


def _empty(case: Any) -> None:
    aliases = case._databases_names(include_mirrors=False)
    if any(_permissions_of(alias) != _permissions[alias] for alias in aliases):
        _flush(case)
        return
    for alias in aliases:
        operations = connections[alias].ops
        tables = connections[alias].introspection.django_table_names(
            only_existing=True, include_views=False
        )
        emptying = operations.sql_flush(no_style(), [t for t in tables if t not in STAYING])
        operations.execute_sql_flush(emptying)


def _permissions_of(alias: str) -> set[Any]:
    fields = ("content_type__app_label", "content_type__model", "codename")
    return set(Permission.objects.using(alias).values_list(*fields))
