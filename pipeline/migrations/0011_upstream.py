from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("pipeline", "0009_runs_at_a_glance"),
    ]

    operations = [
        migrations.AddField(
            model_name="llmcall",
            name="upstream",
            field=models.CharField(blank=True, db_default="", default="", max_length=100),
        ),
    ]
