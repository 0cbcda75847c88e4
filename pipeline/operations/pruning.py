"""Remove the texts of old runs, raw updates and the bot's replies; keep the figures.

Pruning starts with the oldest rows, uses short transactions, skips rows that other transactions
have locked, and holds no lock in between. So it may run beside the bot, be killed at any point, and
be restarted: finished rows are not visited twice. Open runs, memory, casebook and playbook stay.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Q

from pipeline.journal.text_store import (
    TEXTS_OF_A_CALL,
    TEXTS_OF_A_RUN,
    TEXTS_OF_A_STEP,
    drop_unused,
    unreferenced,
)
from pipeline.models import (
    LLMCall,
    OutgoingMessage,
    PipelineRun,
    StepRun,
    Task,
    TelegramUpdate,
    TextBlob,
)
from pipeline.models.runs import RunStatus, kind_of

BATCH = 200  # runs or updates per transaction: some milliseconds on either database
TEXTS_AT_ONCE = 250
REST_S = 0.02  # between transactions, so that SQLite's other writers get their turn
PRUNED = "{}"  # replaces a raw update

Rows = models.QuerySet[Any]
Rest = Callable[[float], object]


@dataclass(slots=True)
class Pruned:
    """How many runs and updates lost their texts, and how many unused texts were deleted."""

    runs: int = 0
    updates: int = 0
    texts: int = 0


def prune(before: datetime, *, dry_run: bool = False, rest: Rest = time.sleep) -> Pruned:
    """Remove the texts of everything that ended before then; with `dry_run` only count."""
    pruned = Pruned()
    for ids in _batches(_old_runs(before), "started_at", BATCH):
        pruned.runs += len(ids) if dry_run else _prune_runs(ids, before)
        rest(0 if dry_run else REST_S)
    for ids in _batches(_old_updates(before), "pk", BATCH):
        pruned.updates += len(ids) if dry_run else _prune_updates(ids, before)
        rest(0 if dry_run else REST_S)
    if not dry_run:
        for texts in _batches(_old_texts(before), "pk", TEXTS_AT_ONCE):
            pruned.texts += drop_unused(texts)
            rest(REST_S)
    return pruned


def _batches(rows: Rows, by: str, size: int) -> Iterator[Sequence[Any]]:
    """Yield pages of keys ordered by `by`; each starts after the last key, even if rows changed."""
    pages = rows.order_by(by, "pk")
    page = list(pages.values_list(by, "pk")[:size])
    while page:
        yield [pk for _, pk in page]
        at, last = page[-1]
        behind = (
            Q(pk__gt=last) if by == "pk" else Q(**{f"{by}__gt": at}) | Q(**{by: at, "pk__gt": last})
        )
        if by != "pk":
            behind &= Q(**{f"{by}__gte": at})  # lets the database start at an index position
        page = list(pages.filter(behind).values_list(by, "pk")[:size])


# --- runs -----------------------------------------------------------------------------------------


def _old_runs(before: datetime) -> models.QuerySet[PipelineRun]:
    """Return the runs with texts that ended before then, together with their steps and tasks."""
    steps = StepRun.objects.filter(run=OuterRef("pk"))
    calls = LLMCall.objects.filter(step__run=OuterRef("pk"))
    # An error that has been reduced to its kind quotes nothing.
    quotes = Q(error__regex=r"\W")
    has_texts = (
        _any_of(TEXTS_OF_A_RUN)
        | Exists(steps.filter(_any_of(TEXTS_OF_A_STEP) | quotes | ~Q(member_line="")))
        | Exists(calls.filter(_any_of(TEXTS_OF_A_CALL) | quotes))
    )
    ended = PipelineRun.objects.filter(started_at__lt=before, ended_at__lt=before)
    return ended.exclude(status=RunStatus.RUNNING).filter(
        has_texts,
        ~Exists(steps.filter(_not_ended(before))),
        ~Exists(Task.objects.filter(_not_ended(before), step__run=OuterRef("pk"))),
        ~Exists(Task.objects.filter(_not_ended(before), update=OuterRef("update"))),
    )


@transaction.atomic
def _prune_runs(ids: Sequence[UUID], before: datetime) -> int:
    free = _old_runs(before).filter(pk__in=ids).order_by("pk")
    own = list(free.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True))
    steps = StepRun.objects.filter(run__in=own)
    calls = LLMCall.objects.filter(step__run__in=own)
    PipelineRun.objects.filter(pk__in=own).update(**dict.fromkeys(TEXTS_OF_A_RUN))
    steps.update(member_line="", **dict.fromkeys(TEXTS_OF_A_STEP))
    calls.update(**dict.fromkeys(TEXTS_OF_A_CALL))
    for rows in (steps, calls):
        rows.exclude(error="").exclude(error_type="").update(error=F("error_type"))
    for rows in (steps.filter(error_type=""), calls.filter(error_type="")):
        _keep_kinds(rows)
    _keep_kinds(Task.objects.filter(step__run__in=own))
    return len(own)


# --- updates --------------------------------------------------------------------------------------


def _old_updates(before: datetime) -> models.QuerySet[TelegramUpdate]:
    """Return the raw updates from before then whose tasks and runs all ended before then."""
    unfinished = Task.objects.filter(_not_ended(before))
    # An album, or a forwarded text with its comment, is one question: keep all its updates while a
    # task of one is open.
    of_album = unfinished.filter(
        update__chat_id=OuterRef("chat_id"), update__album=OuterRef("album")
    )
    runs = PipelineRun.objects.filter(update=OuterRef("pk"))
    # One subquery per way to a task: an OR within one would scan all tasks.
    return (
        TelegramUpdate.objects.filter(received_at__lt=before)
        .exclude(raw=PRUNED)
        .filter(
            ~Exists(unfinished.filter(update=OuterRef("pk"))),
            ~Exists(unfinished.filter(step__run__update=OuterRef("pk"))),
            ~Exists(unfinished.filter(update=OuterRef("joined_to"))),
            Q(album="") | ~Exists(of_album),
            ~Exists(runs.filter(_not_ended(before))),
        )
    )


@transaction.atomic
def _prune_updates(ids: Sequence[int], before: datetime) -> int:
    """Empty raw updates, delete the replies to them, and return the number of updates.

    The rows of the updates stay, so that the same update is not accepted again.
    """
    free = _old_updates(before).filter(pk__in=ids).order_by("pk")
    own = list(free.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True))
    OutgoingMessage.objects.filter(update__in=own).delete()
    _keep_kinds(Task.objects.filter(update__in=own))
    return TelegramUpdate.objects.filter(pk__in=own).update(raw=PRUNED)


# --- texts ----------------------------------------------------------------------------------------


def _old_texts(before: datetime) -> models.QuerySet[TextBlob]:
    """Return the unused texts from before then, including those that an earlier prune left."""
    return unreferenced().filter(created_at__lt=before)


def _any_of(names: Sequence[str]) -> Q:
    return Q(*(Q(**{f"{name}__isnull": False}) for name in names), _connector=Q.OR)


def _not_ended(before: datetime) -> Q:
    return Q(ended_at=None) | Q(ended_at__gte=before)


def _keep_kinds(rows: Rows) -> None:
    """Reduce errors, which may quote messages, to their kinds."""
    quoting = list(rows.exclude(error="").only("pk", "error"))
    for row in quoting:
        row.error = kind_of(row.error)
    rows.model._default_manager.bulk_update(quoting, ["error"])
