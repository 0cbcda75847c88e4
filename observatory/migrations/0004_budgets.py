"""Operators manage budgets; analysts see them."""

from django.db import migrations

from observatory import roles


class Migration(migrations.Migration):
    dependencies = [
        ("observatory", "0003_served_names"),
        ("pipeline", "0022_budgets"),
    ]

    operations = [
        roles.grant(
            "Operator", roles.every("pipeline", ["budget"], ["view", "add", "change", "delete"])
        ),
        roles.grant("Operator", {"pipeline.view_budgetperiod"}),
        roles.grant("Analyst", {"pipeline.view_budget", "pipeline.view_budgetperiod"}),
    ]
