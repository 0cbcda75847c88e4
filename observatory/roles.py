"""Roles as migrations make them: a group and what it may do, from then on the operators' own.

A migration only ever adds what did not exist before. What operators have changed since stays,
whether a migration is applied again, taken back, or comes later with a new permission.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from django.contrib.auth.management import create_permissions
from django.db import migrations

# Beside what a migration names: the tables whose permissions roles are made of.
APPS = ("agents", "pipeline")


def create(name: str, permissions: Iterable[str]) -> migrations.RunPython:
    """Return the operation that makes a role; one of that name that is there is left as it is."""
    wanted = sorted(permissions)

    def forwards(apps: Any, schema_editor: Any) -> None:
        alias = schema_editor.connection.alias
        group, is_new = (
            apps.get_model("auth", "Group").objects.using(alias).get_or_create(name=name)
        )
        if is_new:
            group.permissions.set(_found(apps, alias, wanted))

    def backwards(apps: Any, schema_editor: Any) -> None:
        """Remove the role if it is unchanged and no user has it."""
        alias = schema_editor.connection.alias
        unused = apps.get_model("auth", "Group").objects.using(alias).filter(name=name, user=None)
        for group in unused:
            if set(group.permissions.all()) == set(_found(apps, alias, wanted)):
                group.delete()

    return migrations.RunPython(forwards, backwards)


def grant(name: str, permissions: Iterable[str]) -> migrations.RunPython:
    """Return the operation that adds new permissions to a role, if that role still exists."""
    wanted = sorted(permissions)

    def forwards(apps: Any, schema_editor: Any) -> None:
        alias = schema_editor.connection.alias
        for group in apps.get_model("auth", "Group").objects.using(alias).filter(name=name):
            group.permissions.add(*_found(apps, alias, wanted))

    def backwards(apps: Any, schema_editor: Any) -> None:
        alias = schema_editor.connection.alias
        for group in apps.get_model("auth", "Group").objects.using(alias).filter(name=name):
            group.permissions.remove(*_found(apps, alias, wanted))

    return migrations.RunPython(forwards, backwards)


def every(app: str, models: Iterable[str], actions: Iterable[str]) -> set[str]:
    """Return the names of these permissions for these models."""
    names = list(actions)
    return {f"{app}.{action}_{model}" for model in models for action in names}


def _found(apps: Any, alias: str, wanted: Iterable[str]) -> list[Any]:
    """Return the permissions of these names.

    Raises:
        LookupError: there is none of that name: the migration is to depend on the one of its model.
    """
    _make_permissions(apps, alias)
    permissions = apps.get_model("auth", "Permission").objects.using(alias)
    found = []
    for name in wanted:
        app, _, codename = name.partition(".")
        permission = permissions.filter(content_type__app_label=app, codename=codename).first()
        if permission is None:
            raise LookupError(f"there is no permission {name!r} at this migration")
        found.append(permission)
    return found


def _make_permissions(apps: Any, alias: str) -> None:
    """Make the permissions that Django makes only after all migrations have been applied."""
    for label in APPS:
        # An app in the state of a migration does not say that it has models, which is asked first.
        config: Any = SimpleNamespace(label=label, models_module=True)
        create_permissions(config, apps=apps, verbosity=0, using=alias)
