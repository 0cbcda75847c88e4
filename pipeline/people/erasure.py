"""Erases a member's data on request; costs remain, without a reference to the member.

Only the data behind access and limits is kept: the Telegram id, the access status, and the recent
usage. The member's runs in progress are cancelled and store nothing afterwards.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import models, transaction
from django.db.models import Q, Sum

from agents.llm.base import Payer
from pipeline.budgets.upkeep import forget_calls
from pipeline.journal import traces
from pipeline.journal.rows import interrupt
from pipeline.journal.text_store import (
    TEXTS_OF_A_CALL,
    TEXTS_OF_A_RUN,
    TEXTS_OF_A_STEP,
    drop_unused,
    gathering,
    taken_out,
)
from pipeline.models import (
    CasebookEntry,
    Exercise,
    LLMCall,
    Member,
    OutgoingMessage,
    PastedKey,
    PipelineRun,
    Press,
    StepRun,
    Task,
    TelegramUpdate,
)
from pipeline.models.inbox import OPEN, TaskStatus
from pipeline.models.runs import RunStatus
from pipeline.models.sources import sources_where
from pipeline.people import limits, memory
from pipeline.people.operator_links import unlink_telegram

DAY = timedelta(days=1)
LONGEST_OUTAGE = timedelta(days=2)  # a run that resumes after a longer outage is not counted


@transaction.atomic
def erase(member: Member, *, now: datetime, but: int = 0) -> None:
    """Erase a member's key, memory, cases, exercises and texts, in one transaction.

    `but` is the id of the task that performs the erasure: it is not cancelled, and its update keeps
    the chat to reply to.
    """
    row = Member.objects.select_for_update().get(pk=member.pk)
    with gathering():  # the sums of budgets are written at its end
        _erase(row, now=now, but=but)
    forget_calls(row.pk, now)


def _erase(row: Member, *, now: datetime, but: int) -> None:
    row.forgotten_runs = limits.runs_within_an_hour(row, now=now)
    row.forgotten_usd = _spent_within_a_day(row, now=now)
    row.forgotten_at = now
    row.forget_key()
    row.name = row.username = row.model_id = ""
    row.save()
    memory.erase(row)
    CasebookEntry.objects.filter(member=row).delete()
    Exercise.objects.filter(member=row).delete()
    PastedKey.objects.filter(telegram_id=row.telegram_id).delete()
    unlink_telegram(row.telegram_id)
    _end_what_is_under_way(row, now=now, but=but)
    _erase_texts(PipelineRun.objects.filter(member=row))
    PipelineRun.objects.filter(member=row).update(member=None, update=None)
    _erase_messages(row, but=but)


def _spent_within_a_day(member: Member, *, now: datetime) -> Decimal:
    """Return what the team's key has paid for a member, for releases before budgets: they add it.

    The sums of budgets outlast an erasure by themselves.
    """
    calls = LLMCall.objects.filter(
        step__run__member=member,
        step__run__source__in=sources_where("counts_for_limits"),
        # Keeps the query from reading the member's whole history. A run may have started more
        # than a day ago if it waited for the end of an outage.
        step__run__started_at__gt=now - DAY - LONGEST_OUTAGE,
        started_at__gt=now - DAY,
        payer=Payer.SHARED.value,
    )
    spent = calls.aggregate(total=Sum("cost_usd"))["total"] or Decimal(0)
    is_recent = member.forgotten_at is not None and member.forgotten_at > now - DAY
    return spent + (member.forgotten_usd if is_recent else 0)


def _end_what_is_under_way(member: Member, *, now: datetime, but: int) -> None:
    """Cancel all open tasks and runs of a member; their workers' later writes are rejected."""
    about_me = Q(update__user_id=member.telegram_id)
    mine = Task.objects.filter(about_me | Q(step__run__member=member) | Q(run__member=member))
    ids = list(mine.filter(status__in=OPEN).exclude(pk=but).values_list("pk", flat=True))
    Task.objects.filter(pk__in=ids).update(
        status=TaskStatus.IGNORED, token=None, stop_requested=True, ended_at=now
    )
    runs = PipelineRun.objects.filter(member=member)
    list(runs.select_for_update().values_list("pk"))  # lock runs before their calls: see `rows`
    interrupt(StepRun.objects.filter(run__in=runs))
    StepRun.objects.filter(run__in=runs).update(attempt_token=None)
    runs.update(attempt_token=None)
    under_way = list(
        runs.filter(status__in=(RunStatus.WAITING, RunStatus.RUNNING)).values_list("pk", flat=True)
    )
    runs.filter(pk__in=under_way).update(status=RunStatus.CANCELLED, ended_at=now)
    for run_id in under_way:
        traces.run_ended(run_id)


def _erase_messages(member: Member, *, but: int) -> None:
    """Delete the replies to a member, and erase their updates except for the update ids.

    The ids stay, so that an update that Telegram delivers again is recognized.
    """
    own = TelegramUpdate.objects.filter(tasks=but)
    updates = TelegramUpdate.objects.filter(user_id=member.telegram_id).exclude(tasks=but)
    OutgoingMessage.objects.filter(update__in=updates).delete()
    Press.objects.filter(update__in=updates).delete()
    Task.objects.filter(update__in=updates).update(error="")
    updates.update(chat_id=None, user_id=None, album="", raw="{}")
    for update_id in own.values_list("update_id", flat=True):
        own.update(raw=json.dumps({"update_id": update_id}))  # keeps its chat, for the reply


def _erase_texts(runs: models.QuerySet[PipelineRun]) -> None:
    """Remove the texts of runs, and delete the text blobs that nothing else refers to."""
    steps = StepRun.objects.filter(run__in=runs)
    calls = LLMCall.objects.filter(step__run__in=runs)
    for rows in (runs, steps, calls):  # concurrent writers finish before, or find the run ended
        list(rows.select_for_update().values_list("pk"))
    texts = taken_out(runs, TEXTS_OF_A_RUN)
    texts |= taken_out(steps, TEXTS_OF_A_STEP)
    texts |= taken_out(calls, TEXTS_OF_A_CALL)
    steps.update(error="", member_line="")
    calls.update(error="")
    drop_unused(texts)
