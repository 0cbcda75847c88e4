"""Backfills the decision columns of older steps, and the error class of their calls.

A pass goes from the newest step backward in batches; each batch continues where the last one ended.
The first pass visits all steps; later passes go back as far as a process of an earlier release may
have written steps since. Each step is updated on its own, so no other writer waits for a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Q

from pipeline.journal.old_sentences import columns_of, error_class
from pipeline.models import LLMCall, StepRun

BATCH = 500  # steps


@dataclass(frozen=True, slots=True)
class Step:
    """The last step of a batch, after which the next batch continues."""

    started_at: datetime
    id: UUID


def fill(before: Step | None, since: datetime | None) -> Step | None:
    """Fill a batch of the steps that started before the step `before`, and not before `since`.

    Only ended steps are filled: a process of an earlier release may still write the sentence of a
    running one.

    Returns:
        The last step of the batch; None if there are no more.
    """
    steps = StepRun.objects.filter(decision_source="", ended_at__isnull=False)
    steps = steps.exclude(decision="", error="")
    if since is not None:
        steps = steps.filter(started_at__gte=since)
    if before is not None:
        is_earlier = Q(started_at__lt=before.started_at)
        is_earlier |= Q(started_at=before.started_at, id__lt=before.id)
        steps = steps.filter(is_earlier, started_at__lte=before.started_at)
    batch = list(steps.order_by("-started_at", "-id")[:BATCH])
    for step in batch:
        if changes := columns_of(step) or {"error_type": error_class(step.error)}:
            StepRun.objects.filter(pk=step.pk, decision_source="").update(**changes)
    calls = LLMCall.objects.filter(step__in=batch, error_type="").exclude(error="")
    for call in calls.only("pk", "error"):
        if found := error_class(call.error):
            LLMCall.objects.filter(pk=call.pk).update(error_type=found)
    return Step(batch[-1].started_at, batch[-1].pk) if batch else None
