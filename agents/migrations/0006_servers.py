import django.utils.timezone
from django.db import migrations, models
from django.db.models import Q

import agents.models


def mark_routers(apps, schema_editor):
    """Mark what is a router, as far as the rows say, so that none alerts until the next sync."""
    listed = apps.get_model("agents", "CatalogModel").objects.filter(alias_target="")
    listed.exclude(model_id__startswith="~").filter(
        Q(name__iregex=r"(^|[^a-z0-9_])router([^a-z0-9_]|$)")
        | Q(prompt_usd=None, completion_usd=None)  # what -1, "it depends", was read as
    ).update(is_router=True)


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0005_database_identity"),
    ]

    operations = [
        migrations.AddField(
            model_name="catalogmodel",
            name="is_router",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.RunPython(mark_routers, migrations.RunPython.noop),
        *(
            # Which ids there can be depends on the server: nothing changes in the database.
            migrations.AlterField(
                model_name=name,
                name="model_id",
                field=models.CharField(
                    max_length=200,
                    validators=[agents.models.validate_model_id],
                    verbose_name="model",
                ),
            )
            for name in ("agentmodelconfig", "historicalagentmodelconfig")
        ),
        migrations.CreateModel(
            name="ServedName",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("provider", models.CharField(max_length=30)),
                ("requested_model", models.CharField(max_length=200, verbose_name="requested")),
                ("served_model", models.CharField(max_length=200, verbose_name="served")),
                (
                    "is_same",
                    models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="From the next call on, this name is no mismatch. "
                        "Calls on record stay as they are.",
                        verbose_name="is the same model",
                    ),
                ),
                (
                    "set_by",
                    models.CharField(
                        blank=True, db_default="", default="", editable=False, max_length=150
                    ),
                ),
                (
                    "first_seen_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "verbose_name": "served name",
                "ordering": ["is_same", "-first_seen_at"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("provider", "requested_model", "served_model"),
                        name="served_name_once",
                    )
                ],
            },
        ),
    ]
