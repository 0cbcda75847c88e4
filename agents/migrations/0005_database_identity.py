"""A random id in the database; `agents.database_identity` says what it is for."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import migrations

TABLE = "agents_database_identity"


def forwards(apps: Any, schema_editor: Any) -> None:
    schema_editor.execute(
        f"CREATE TABLE {TABLE} (id smallint NOT NULL PRIMARY KEY CHECK (id = 1),"
        " random_id varchar(32) NOT NULL)"
    )
    schema_editor.execute(
        f"INSERT INTO {TABLE} (id, random_id) VALUES (1, %s)",  # noqa: S608 - our own table
        [uuid.uuid4().hex],
    )


def backwards(apps: Any, schema_editor: Any) -> None:
    schema_editor.execute(f"DROP TABLE {TABLE}")


class Migration(migrations.Migration):
    dependencies = [("agents", "0004_any_former_state")]

    operations = [migrations.RunPython(forwards, backwards)]
