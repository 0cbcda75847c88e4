"""Periodic jobs, each run by only one process at a time: usage, credit, catalog, alerts, repairs.

A job is claimed by a conditional UPDATE that also sets when it is due again, so there is neither a
scheduler nor a leader. A job that fails runs again when it is next due.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Q, QuerySet
from django.utils import timezone

from agents import catalog, credit
from agents.cancelling import end
from agents.llm.keys import PlainKey
from agents.llm.openrouter import OpenRouterProvider
from agents.override_changes import changes_since, current_version
from pipeline.models import Member, PeriodicJob, SentAlert
from pipeline.operations import attention, change_webhook, old_decisions, run_sums, usage
from pipeline.operations.aggregates import database_now
from pipeline.operations.attention import Send, undo_buttons
from pipeline.operations.budget_job import keep_budgets

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 2.0  # a hastened job waits this long at most, and for the jobs running then
ENDED_WITHIN_S = 2.0
SYNCED_FOR = timedelta(days=1)
RUN_SUMS = "run sums"
OLD_DECISIONS = "old decisions"
BATCHES = 10  # of old decisions per run of the job
REST_OF_OLD_DECISIONS = timedelta(hours=1)  # from the end of a pass to the next
ALERT_ARRIVES_WITHIN = timedelta(minutes=1)
RESENT_FOR = timedelta(days=1)
SUMS_FIRST_BACK = timedelta(days=2)
HOW_TO_UNDO = (
    "To undo it, press the button within a day, or open the admin's page Overrides within ten "
    "minutes. The button needs your admin account to be linked: in the admin, click your name, "
    "then Telegram."
)

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A periodic job: its name, its interval and its function."""

    name: str
    every: timedelta
    perform: Callable[[datetime, Send], Awaitable[Result | None]]  # None: it wrote its result
    runs_apart: bool = False  # it may wait for a server for long, and the others don't wait for it


async def _close_hours(now: datetime, send: Send) -> Result:
    closed = 0
    now = await sync_to_async(database_now)()
    while done := await sync_to_async(usage.close_hours)(now):
        closed += done
    return {"closed_hours": closed}


async def _audit_usage(now: datetime, send: Send) -> Result:
    """Compare the sums of closed hours with their steps and calls, and have wrong ones summed anew.

    They differ if a process's clock was behind, or if a process of an earlier release wrote them.
    """
    wrong = await sync_to_async(usage.audit)(await sync_to_async(database_now)())
    if wrong:
        await send(
            f"Usage: the sums of {len(wrong)} of the last days' hours were not those of their "
            f"calls (the first: {wrong[0]:%Y-%m-%d %H:%M} UTC). They are being summed anew. After "
            "an upgrade, this is expected once: trials and reruns used to count as traffic. If it "
            "comes again, check the clocks of the machines that run the bot."
        )
    return {"wrong_hours": [hour.isoformat() for hour in wrong]}


async def _ask_for_credit(now: datetime, send: Send) -> Result:
    if not settings.OPENROUTER_API_KEY or settings.SHARED_SERVER != "openrouter":
        return {}
    heard = await credit.ask(PlainKey(settings.OPENROUTER_API_KEY))
    left = None if heard.remaining_usd is None else str(heard.remaining_usd)
    return {"remaining_usd": left, "problem": heard.problem, "asked_at": now.isoformat()}


async def _sync_catalogue(now: datetime, send: Send) -> Result:
    """Sync the catalog once a day, or every hour after a failure.

    If the team uses its own server, sync only if a member has an OpenRouter key.
    """
    if settings.SHARED_SERVER != "openrouter" and not await _is_openrouter_in_use():
        return {}
    last: Result = (await PeriodicJob.objects.aget(name=attention.CATALOGUE)).last_result
    synced_at = last.get("synced_at", "")
    if synced_at and now - datetime.fromisoformat(synced_at) < SYNCED_FOR:
        return last
    try:
        in_use = [use.model_id for use in await sync_to_async(attention.uses)()]
        await catalog.sync(in_use, now=now)
    except catalog.CatalogNotSynced as error:
        return {"synced_at": synced_at, "problem": str(error)}
    return {"synced_at": now.isoformat()}


async def _is_openrouter_in_use() -> bool:
    own = Member.objects.filter(provider=OpenRouterProvider.name).exclude(key_ciphertext="")
    return await own.aexists()


async def _send_alerts(now: datetime, send: Send) -> Result:
    found = await sync_to_async(attention.alerts)(now)
    for alert in await sync_to_async(attention.unsent)(found):
        if not await send(alert.text, alert.buttons):
            break  # the others would not arrive either
        await sync_to_async(attention.mark_sent)(alert)  # after sending: at least once
    return {}


async def _tell_changes(now: datetime, send: Send) -> Result:
    """Tell the operators' chat of every change of the overrides since the last time."""
    job = PeriodicJob.objects.filter(name=PeriodicJob.CHANGES)
    last = await _last_result(job)
    version = await sync_to_async(current_version)()
    told = last.get("version", version)  # what was changed before the first time is no news
    # Each process makes the job due at a change, so that another one may be telling of it now.
    if told == version or not await job.filter(last_result=last).aupdate(
        last_result={"version": version}
    ):
        return {"version": version} if told == version else await _last_result(job)
    changes = await sync_to_async(changes_since)(told)
    lines = [f"Model changed. {changes[0]}"] if len(changes) == 1 else map(str, changes)
    text = "\n".join(lines)
    if len(changes) > 1:
        text = f"Models changed.\n{text}"
    buttons = undo_buttons((change.agent_name, change.version) for change in changes)
    if changes and not await send(f"{text}\n{HOW_TO_UNDO}", buttons, is_news=True):
        return last  # the next time tells of them
    return await _last_result(job)


async def _last_result(job: QuerySet[PeriodicJob]) -> Result:
    result: Result = (await job.aget()).last_result
    return result


async def _resend_lost_alerts(now: datetime, send: Send) -> Result:
    """Resend alerts that were being sent when a process was killed; they arrive at least once."""
    lost = SentAlert.objects.filter(message_id=None, chat_id=str(settings.OPERATOR_CHAT_ID))
    lost = lost.exclude(text="")
    recent = lost.filter(left_at__gt=now - RESENT_FOR, left_at__lt=now - ALERT_ARRIVES_WITHIN)
    for row in [row async for row in recent.order_by("pk")]:
        if not await send(row.text, row.buttons or ()):
            break  # the others would not arrive either
    return {}


async def _mend_sums(now: datetime, send: Send) -> Result:
    """Correct the sums of runs that processes of another release wrote since the last time."""
    last: Result = (await PeriodicJob.objects.aget(name=RUN_SUMS)).last_result
    looked_at = last.get("looked_at", "")
    before = datetime.fromisoformat(looked_at) if looked_at else now - SUMS_FIRST_BACK
    if before > now:  # a clock was ahead
        before = now - SUMS_FIRST_BACK
    # The hour before, too: a call that was in progress then has ended by now.
    mended = await sync_to_async(run_sums.mend)(before - usage.HOUR)
    if mended:
        logger.warning("the sums of %s runs were not those of their calls, and are now", mended)
    return {"looked_at": now.isoformat(), "mended": mended}


async def _fill_old_decisions(now: datetime, send: Send) -> Result:
    """Fill the columns of steps that processes of another release wrote, a few batches per run."""
    last: Result = (await PeriodicJob.objects.aget(name=OLD_DECISIONS)).last_result
    if "rests_until" in last and now < datetime.fromisoformat(last["rests_until"]):
        return last
    since, before = last.get("since"), None
    if last.get("before"):
        started_at, step_id = last["before"]
        before = old_decisions.Step(datetime.fromisoformat(started_at), UUID(step_id))
    began_at = last["began_at"] if before else now.isoformat()
    limit = datetime.fromisoformat(since) if since else None
    for _ in range(BATCHES):
        before = await sync_to_async(old_decisions.fill)(before, limit)
        if before is None:  # the next pass: steps started since this pass began, or running then
            reached = datetime.fromisoformat(began_at) - SUMS_FIRST_BACK
            rests_until = now + REST_OF_OLD_DECISIONS
            return {"since": reached.isoformat(), "rests_until": rests_until.isoformat()}
        ended_at = [before.started_at.isoformat(), str(before.id)]
    return {"since": since, "before": ended_at, "began_at": began_at}


JOBS = (  # in the order in which due ones run: operators wait for the first two
    JobSpec(PeriodicJob.CHANGES, timedelta(minutes=10), _tell_changes),
    JobSpec(PeriodicJob.ALERTS, timedelta(seconds=30), _send_alerts),
    JobSpec(usage.LOCK, timedelta(minutes=1), _close_hours),
    JobSpec("usage audit", timedelta(days=1), _audit_usage),
    JobSpec(attention.CREDIT, timedelta(minutes=10), _ask_for_credit),
    JobSpec(attention.CATALOGUE, timedelta(hours=1), _sync_catalogue),
    JobSpec(RUN_SUMS, timedelta(minutes=5), _mend_sums),
    JobSpec(OLD_DECISIONS, timedelta(minutes=1), _fill_old_decisions),
    JobSpec(PeriodicJob.BUDGETS, timedelta(seconds=20), keep_budgets),
    JobSpec("lost alerts", timedelta(minutes=1), _resend_lost_alerts),
    JobSpec(
        PeriodicJob.WEBHOOK,
        timedelta(minutes=10),
        change_webhook.deliver_changes,
        runs_apart=True,
    ),
)


class PeriodicJobs:
    """Runs due jobs in one of the bot's processes, until it is closed."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._task: asyncio.Task[None] | None = None
        self._apart: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Start polling for due jobs."""
        self._task = asyncio.create_task(self._run(), name="periodic jobs")

    async def close(self) -> None:
        """Stop; an unfinished job runs again when it is next due."""
        if self._task is not None:
            await end([self._task, *self._apart.values()], ENDED_WITHIN_S)

    async def _run(self) -> None:
        while True:
            for spec in await _due(timezone.now()):
                if not spec.runs_apart:
                    await self._do(spec)
                elif spec.name not in self._apart or self._apart[spec.name].done():
                    task = asyncio.create_task(self._do(spec), name=f"periodic job {spec.name}")
                    self._apart[spec.name] = task
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _do(self, spec: JobSpec) -> None:
        try:
            await run_if_due(spec, timezone.now(), self._send)
        except DatabaseError as error:  # the next poll reconnects, as the rest of the process does
            logger.warning(
                "periodic job %s waits for the database: %s", spec.name, type(error).__name__
            )
        except Exception:  # one job's failure must not end the others
            logger.exception("periodic job %s failed; it runs again when it is next due", spec.name)


async def _due(now: datetime) -> list[JobSpec]:
    """Return the jobs that seem to be due, found by one statement; `run_if_due` claims them."""
    try:
        rows = [row async for row in PeriodicJob.objects.values_list("name", "due_at")]
    except DatabaseError as error:  # the next poll reconnects, as the rest of the process does
        logger.warning("periodic jobs wait for the database: %s", type(error).__name__)
        return []
    due_at = dict(rows)
    return [
        spec
        for spec in JOBS
        # If a clock is set back, a job due in a minute must not wait for a day.
        if not now < due_at.get(spec.name, now) <= now + spec.every
    ]


async def run_if_due(spec: JobSpec, now: datetime, send: Send) -> None:
    """Run a job if it is due and no other process has claimed it."""
    if await sync_to_async(_claim)(spec, now):
        result = await spec.perform(now, send)
        if result is not None:
            await PeriodicJob.objects.filter(name=spec.name).aupdate(last_result=result)


def _claim(spec: JobSpec, now: datetime) -> bool:
    jobs = PeriodicJob.objects.filter(name=spec.name)
    # As in `_due`, again, since another process may have claimed it meanwhile.
    due = jobs.filter(Q(due_at__lte=now) | Q(due_at__gt=now + spec.every))
    if not jobs.exists():
        PeriodicJob.objects.bulk_create(
            [PeriodicJob(name=spec.name, due_at=now)], ignore_conflicts=True
        )
    return bool(due.update(due_at=now + spec.every))
