"""Brings the tables of any earlier commit to what the migrations before this one say today."""

from django.db import migrations

from agents import former_states


class Migration(migrations.Migration):
    dependencies = [("agents", "0003_catalogue")]

    operations = [former_states.mend("agents")]
