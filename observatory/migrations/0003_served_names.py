"""Operators say which other names are the same model."""

from django.db import migrations

from observatory import roles


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0006_servers"),
        ("observatory", "0002_any_former_state"),
    ]

    operations = [
        roles.grant(
            "Operator", roles.every("agents", ["servedname"], ["view", "add", "change", "delete"])
        ),
        roles.grant("Analyst", {"agents.view_servedname"}),
    ]
