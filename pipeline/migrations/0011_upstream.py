from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("pipeline", "0010_any_former_state"),
    ]

    operations = [
        migrations.AddField(
            model_name="llmcall",
            name="upstream",
            field=models.CharField(blank=True, db_default="", default="", max_length=100),
        ),
    ]
