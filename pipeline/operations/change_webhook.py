"""The periodic job that delivers each change of an override to CHANGE_WEBHOOK_URL, in order.

A change is an entry of the overrides' history. The job's `last_result` holds `after`, the id of the
last entry that was delivered or dropped, and `given_up`, the dropped ones not yet reported. While
the next entry fails, it also holds `attempts` and `next_try_at`, and `problem` and `failing_since`
until a delivery succeeds.

Each process makes the job due after a change, so several may run it at once. Every write of the
state is therefore conditional on the state that was read, and a request is recorded before it is
sent. If the process dies in between, the message is sent again with the same id, so that the
receiver can drop the duplicate.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db.models import QuerySet

from agents.database_identity import read_identity
from agents.llm.retries import Deadline
from agents.llm.secrets import scrub
from agents.override_changes import MAX_TOLD, entry_after, last_entry_id
from agents.webhook_client import Message, Receiver, deliver
from pipeline.models import PeriodicJob

RUN_S = 10.0  # the longest run of the job, and so the longest request
STARTED_WITHIN_S = 5.0  # no attempt is begun later in a run, so each has at least as long
HELD_FOR = timedelta(seconds=15)  # longer than an attempt: no other process tries meanwhile
FIRST_WAIT_S, MAX_WAIT_S = 5.0, 300.0  # between attempts; doubled after each
TRIED_FOR = timedelta(days=1)  # from the change
ALERTED_AFTER = timedelta(minutes=5)

logger = logging.getLogger(__name__)
State = dict[str, Any]
Jobs = QuerySet[PeriodicJob]
Send = Callable[[str], Awaitable[bool]]


async def deliver_changes(now: datetime, send: Send) -> None:
    """Deliver the changes that are due, oldest first, until one fails or the run's time is up.

    Returns:
        None: it has written the state itself. A process without a webhook leaves the state as it
        is, since another process may have one.
    """
    if not settings.CHANGE_WEBHOOK_URL:
        return
    job = PeriodicJob.objects.filter(name=PeriodicJob.WEBHOOK)
    await _deliver(job, now)
    await _tell_given_up(job, send)


def problem(now: datetime) -> str:
    """Return what operators must know of a webhook that has failed for five minutes, or ""."""
    if not settings.CHANGE_WEBHOOK_URL:
        return ""
    job = PeriodicJob.objects.filter(name=PeriodicJob.WEBHOOK).first()
    state = job.last_result if job is not None else {}
    since = datetime.fromisoformat(state.get("failing_since", now.isoformat()))
    if now - since <= ALERTED_AFTER:
        return ""
    return (
        f"The webhook at {_host()} has been failing since {since:%Y-%m-%d %H:%M} UTC: "
        f"{state['problem']}. Override changes are kept for it and retried, each for a day."
    )


async def _deliver(job: Jobs, now: datetime) -> None:
    run = Deadline.in_seconds(RUN_S)
    while run.remaining_s > RUN_S - STARTED_WITHIN_S:
        at = _time(now, run)
        state = await _state(job)
        if "after" not in state:  # what was changed before the first run is no news
            await _replaced(job, state, _idle(await sync_to_async(last_entry_id)()))
            return
        head = await sync_to_async(entry_after)(state["after"])
        if head is None:
            await _replaced(job, state, _idle(state["after"], state))
            return
        next_try_at = datetime.fromisoformat(state.get("next_try_at", at.isoformat()))
        # If a clock is set back, an attempt due in minutes must not wait for a day.
        if at < next_try_at < at + timedelta(seconds=2 * MAX_WAIT_S):
            await _replaced(job, state, state, due_at=next_try_at)
            return
        if not await _try(job, state, head, now, run):
            return
    await job.aupdate(due_at=now)  # more may be left


async def _try(
    job: Jobs, state: State, head: tuple[Any, Any], now: datetime, run: Deadline
) -> bool:
    """Try to deliver the oldest pending change; return whether the next one may follow."""
    entry, before = head
    at = _time(now, run)
    held_until = at + HELD_FOR
    attempts = state.get("attempts", 0) + 1
    held = state | {"attempts": attempts, "next_try_at": held_until.isoformat()}
    if not await _replaced(job, state, held, due_at=held_until):
        return False  # another process tries it
    message = await sync_to_async(_message)(entry, before)
    receipt = await deliver(_receiver(), message, at=at, within_s=run.remaining_s)
    at = _time(now, run)
    name = f"{entry.agent_name} v{entry.version}"
    passed = _idle(entry.history_id, state)
    if not receipt.problem:
        logger.info("webhook: delivered %s", name)
        return await _replaced(job, held, passed)
    since = state.get("failing_since")
    failing = {"problem": receipt.problem, "failing_since": since or at.isoformat()}
    if at - entry.history_date >= TRIED_FOR:
        logger.error("webhook: %s was not delivered within a day: %s", name, receipt.problem)
        passed["given_up"] = [*passed["given_up"], f"{name} ({receipt.problem})"][-MAX_TOLD:]
        return await _replaced(job, held, passed | failing)
    if since is None:
        logger.warning("webhook: %s failed and will be retried: %s", name, receipt.problem)
    next_try_at = at + timedelta(seconds=max(_wait_s(attempts), receipt.retry_after_s or 0))
    failed = held | failing | {"next_try_at": next_try_at.isoformat()}
    await _replaced(job, held, failed, due_at=next_try_at)
    return False


async def _tell_given_up(job: Jobs, send: Send) -> None:
    """Tell the operators' chat once of the changes that were given up."""
    state = await _state(job)
    if not (names := state.get("given_up")):
        return
    told = state | {"given_up": []}
    text = f"The webhook at {_host()} did not accept these override changes within a day, so they "
    text += f"won't be sent again: {', '.join(names)}. The admin's page All changes lists them."
    # Written before sending, because another process may be about to send the same message.
    if await _replaced(job, state, told) and not await send(text):
        await _replaced(job, told, state)  # the next run tells


def _idle(after: int, state: State | None = None) -> State:
    """Return the state after this entry, before the next one has been tried."""
    return {"after": after, "given_up": (state or {}).get("given_up", [])}


async def _state(job: Jobs) -> State:
    state: State = (await job.aget()).last_result
    return state


async def _replaced(job: Jobs, state: State, by: State, **due: datetime) -> bool:
    """Replace the state; return False if another process has changed it meanwhile."""
    return bool(await job.filter(last_result=state).aupdate(last_result=by, **due))


def _time(now: datetime, run: Deadline) -> datetime:
    """Return the time in a run that began at `now`."""
    return now + timedelta(seconds=RUN_S - run.remaining_s)


def _wait_s(attempts: int) -> float:
    """Return the seconds until the next attempt; the jitter spreads those of installations."""
    wait_s = min(FIRST_WAIT_S * 2.0 ** min(attempts - 1, 10), MAX_WAIT_S)
    return wait_s * random.uniform(0.9, 1)  # noqa: S311


def _host() -> str:
    """Return the only part of the receiver's URL to show: others may have a token in them."""
    return urlsplit(settings.CHANGE_WEBHOOK_URL).hostname or ""


def _receiver() -> Receiver:
    return Receiver(url=settings.CHANGE_WEBHOOK_URL, keys=settings.CHANGE_WEBHOOK_SECRETS.reveal())


# --- what is delivered ----------------------------------------------------------------------------


def _message(entry: Any, before: Any) -> Message:
    """Return the message about an entry of the history, the same at each attempt."""
    # The id includes the time, because a restored dump assigns the same entry ids again.
    changed_s = int(entry.history_date.timestamp())
    now, was = _in_force(entry), _in_force(before)
    body = {
        "type": "override.changed",
        "timestamp": entry.history_date.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "data": {
            "agent": entry.agent_name,
            "version": entry.version,
            "model": now and now.model_id,
            "model_before": was and was.model_id,
            "on_failure": now and now.on_failure,
            "on_failure_before": was and was.on_failure,
            "by": entry.set_by or None,
            "reason": scrub(entry.reason) or None,
            "check": now and (now.check_result or None),
        },
    }
    return Message(
        id=f"msg_{read_identity()}_{entry.history_id}_{changed_s}",
        body=json.dumps(body, separators=(",", ":")).encode(),
    )


def _in_force(entry: Any) -> Any:
    """Return the history entry if its override was in force; None if off, deleted or missing."""
    is_on = entry is not None and entry.is_active and entry.history_type != "-"
    return entry if is_on else None
