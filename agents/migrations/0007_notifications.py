"""PostgreSQL notifies the resolvers of every change of the overrides, whichever program makes it.

`agents.resolving.subscription` listens. Processes of earlier releases do not, and need not.
"""

from django.db import migrations

CHANNEL = "observatory_overrides"
TABLES = ("agent_model_config", "agents_overrideversion")
FUNCTION = "observatory_overrides_changed"


def add_triggers(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    schema_editor.execute(
        f"CREATE OR REPLACE FUNCTION {FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN PERFORM pg_notify('{CHANNEL}', ''); RETURN NULL; END $$"
    )
    for table in TABLES:
        schema_editor.execute(
            f"CREATE TRIGGER {FUNCTION} AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {FUNCTION}()"
        )


def remove_triggers(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    for table in TABLES:
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {FUNCTION} ON {table}")
    schema_editor.execute(f"DROP FUNCTION IF EXISTS {FUNCTION}()")


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0006_servers"),
    ]

    operations = [
        migrations.RunPython(add_triggers, remove_triggers),
    ]
