"""Brings the tables of any earlier commit to what the migrations before this one say today.

0002, 0008 and 0009 were edited after they had been committed. And what processes of an earlier commit
did while 0009 was already there is missing in the sums of their runs: those are made anew.
"""

from itertools import islice

from django.db import migrations
from django.db.models import Exists, OuterRef, Subquery, Sum

from agents import former_states

BATCH = 2000


def sum_up_anew(apps, schema_editor):
    """Write on each run what its calls came to where it says otherwise, so many at a time."""
    alias = schema_editor.connection.alias
    runs, calls = (
        apps.get_model("pipeline", name).objects.using(alias).order_by()
        for name in ("PipelineRun", "LLMCall")
    )
    its_calls = calls.filter(step__run=OuterRef("pk"))
    sums = {
        "cost_usd": Subquery(its_calls.values("step__run").annotate(n=Sum("cost_usd")).values("n")),
        "has_mismatch": Exists(its_calls.filter(is_mismatch=True)),
        "has_fallback": Exists(its_calls.filter(is_fallback=True)),
    }
    summed = {f"its_{name}": expression for name, expression in sums.items()}
    pks = runs.order_by("pk").values_list("pk", flat=True).iterator()
    while batch := list(islice(pks, BATCH)):
        rows = runs.filter(pk__in=batch).annotate(**summed).values_list("pk", *sums, *summed)
        wrong = [pk for pk, *figures in rows if figures[: len(sums)] != figures[len(sums) :]]
        # Locked first: a call that ends meanwhile is in the sum then.
        locked = list(runs.filter(pk__in=wrong).select_for_update(no_key=True).values_list("pk"))
        if locked:
            runs.filter(pk__in=wrong).update(**sums)


class Migration(migrations.Migration):
    dependencies = [("pipeline", "0009_runs_at_a_glance")]

    operations = [
        former_states.mend("pipeline", ["task_open", "task_given_up", "steprun.run"]),
        # Afterwards: PostgreSQL makes no index while rows wait for their triggers.
        migrations.RunPython(sum_up_anew, migrations.RunPython.noop),
    ]
