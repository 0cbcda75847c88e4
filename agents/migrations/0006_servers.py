from django.db import migrations, models
from django.db.models import Q


def mark_routers(apps, schema_editor):
    """Mark what is a router, as far as the rows say, so that none alerts until the next sync."""
    listed = apps.get_model("agents", "CatalogModel").objects.filter(alias_target="")
    listed.exclude(model_id__startswith="~").filter(
        Q(name__iregex=r"(^|[^a-z0-9_])router([^a-z0-9_]|$)")
        | Q(prompt_usd=None, completion_usd=None)  # what -1, "it depends", was read as
    ).update(is_router=True)


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0003_catalogue"),
    ]

    operations = [
        migrations.AddField(
            model_name="catalogmodel",
            name="is_router",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.RunPython(mark_routers, migrations.RunPython.noop),
    ]
