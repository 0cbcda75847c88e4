"""Gives Operator `pipeline.run_again` where the role was made before that permission was part of it.

A role whose operators took the permission away is left as it is. Which of the two it is, the rows say
that made the roles: all permissions of Operator in one go, and those of Analyst right behind them, with
consecutive numbers. Operator had 32 permissions at first, with this one 33. Where the first row of
either is gone, or something else stood between them, nobody can tell, and the role is left as it is.
"""

from django.db import migrations

from observatory import roles

AT_FIRST = 32


def grant_what_was_never_granted(apps, schema_editor):
    """Grant the permission to the Operator of an installation that made it without."""
    alias = schema_editor.connection.alias
    groups = apps.get_model("auth", "Group").objects.using(alias)
    granted = groups.model.permissions.through.objects.using(alias)

    def first_row(name):
        rows = granted.filter(group__name=name).order_by("pk")
        return rows.values_list("pk", flat=True).first()

    operator, analyst = first_row("Operator"), first_row("Analyst")
    if operator is None or analyst is None or analyst - operator != AT_FIRST:
        return
    if operator > 1 and not granted.filter(pk=operator - 1).exists():
        return  # perhaps the first row was taken away, and there were 33
    roles.grant("Operator", ["pipeline.run_again"]).code(apps, schema_editor)


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0004_any_former_state"),
        ("observatory", "0001_roles"),
        ("pipeline", "0010_any_former_state"),
    ]

    operations = [migrations.RunPython(grant_what_was_never_granted, migrations.RunPython.noop)]
