"""Correct the sums in a run's row that differ from those of its calls.

`call_rows.complete_call` updates the sums with each call. A process of an earlier release may not
do so, during an upgrade or after a rollback; a periodic job then corrects them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Subquery, Sum

from pipeline.models import LLMCall, PipelineRun

AT_ONCE = 500  # runs in one query


def mend(since: datetime) -> int:
    """Correct the sums of the runs that had a call since then; return how many were wrong."""
    calls = LLMCall.objects.filter(started_at__gte=since).order_by()
    ids = iter(list(calls.values_list("step__run", flat=True).distinct()))
    return sum(_mend(batch) for batch in _batches(ids))


def _batches(ids: Iterator[UUID]) -> Iterator[list[UUID]]:
    while batch := list(islice(ids, AT_ONCE)):
        yield batch


def _mend(ids: list[UUID]) -> int:
    calls = LLMCall.objects.filter(step__run=OuterRef("pk")).order_by()
    sums = {
        "cost_usd": Subquery(calls.values("step__run").annotate(n=Sum("cost_usd")).values("n")),
        "has_mismatch": Exists(calls.filter(is_mismatch=True)),
        "has_fallback": Exists(calls.filter(is_fallback=True)),
    }
    summed = {f"its_{name}": expression for name, expression in sums.items()}
    runs = PipelineRun.objects.order_by()
    rows = runs.filter(pk__in=ids).annotate(**summed).values_list("pk", *sums, *summed)
    wrong = [pk for pk, *figures in rows if figures[: len(sums)] != figures[len(sums) :]]
    if not wrong:
        return 0
    with transaction.atomic():
        # Lock the runs first, as `complete_call` does, so that a call that ends now is included.
        locked = list(runs.filter(pk__in=wrong).select_for_update(no_key=True).values_list("pk"))
        runs.filter(pk__in=wrong).update(**sums)
    return len(locked)
