"""Migration operations that create roles: groups with permissions, which operators may then change.

A migration only adds what did not exist before. Changes made by operators stay when a migration is
applied again or reversed, and when a later one adds a permission.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from django.contrib.auth.management import create_permissions
from django.db import migrations

# The apps whose models' permissions roles may have.
APPS = ("agents", "pipeline")


def create(name: str, permissions: Iterable[str]) -> migrations.RunPython:
    """Return the operation that creates a role; an existing role of that name stays unchanged."""
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
    """Return the operation that adds permissions to a role, if the role still exists."""
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
    """Return the permission names ("app.action_model") of all `actions` on all `models`."""
    names = list(actions)
    return {f"{app}.{action}_{model}" for model in models for action in names}


def _found(apps: Any, alias: str, wanted: Iterable[str]) -> list[Any]:
    """Return the permissions named in `wanted`.

    Raises:
        LookupError: a permission does not exist: the migration must depend on its model's.
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
    """Create the permissions now; Django creates them only after all migrations are applied."""
    for label in APPS:
        # create_permissions skips apps without `models_module`, which a migration's apps lack.
        config: Any = SimpleNamespace(label=label, models_module=True)
        create_permissions(config, apps=apps, verbosity=0, using=alias)
