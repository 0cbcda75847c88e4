"""The only writer of runs, step runs and LLM calls.

Every row is inserted before the work it records starts, and completed when the work ends. Each
write is one transaction (`pipeline.journal.rows`, `pipeline.journal.call_rows`); concurrent writes
share a commit (`pipeline.journal.writer`); no transaction stays open across a call to a provider.
API keys are never passed here, only their fingerprints.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

import stamina
from asgiref.sync import sync_to_async
from django.db import DatabaseError, OperationalError

from agents import served_names
from agents.catalog import is_served
from agents.connections import close_broken
from agents.llm.base import Attempt, Outcome
from agents.llm.completion import Completion
from agents.llm.model_match import is_same_model, is_same_name
from agents.llm.openrouter import OpenRouterProvider
from pipeline import crashpoints
from pipeline.journal import call_rows, rows
from pipeline.journal.facts import ModelChoice, RunOpening, StepEnd, StepPlace
from pipeline.journal.fencing import Lease, RunLease
from pipeline.journal.text_store import clean
from pipeline.journal.writer import submit
from pipeline.models.inbox import Task
from pipeline.models.runs import RunStatus, StepMode

logger = logging.getLogger(__name__)

NotifyOperators = Callable[[str], None]
T = TypeVar("T")


def log_alert(text: str) -> None:
    """Log an alert; the bot sends it to the operators' chat as well."""
    logger.error("alert: %s", text)


class StepRecorder:
    """Observes the LLM calls of one step run, writes their rows and sums their cost."""

    def __init__(
        self, run_id: UUID, step_id: UUID, token: UUID, place: StepPlace, alert: NotifyOperators
    ) -> None:
        self.step_id = step_id
        self.served_model = ""
        self.upstream = ""
        self.cost_usd: Decimal | None = None
        self.fell_back_to = ""
        self.has_called = False
        self._is_closed = False  # whether the step's row is; it may say that no model was called
        self._run_id = run_id
        self._token = token
        self._agent = place.agent
        self._side = "background" if place.mode is StepMode.BACKGROUND else "foreground"
        self._alert = alert

    async def attempt_started(self, attempt: Attempt) -> None:
        """Write the call's row; the request is sent only after this returns.

        Raises:
            Superseded: another worker has taken the step over, so the request must not be sent.
        """
        self.has_called = True
        try:
            await finished(submit(call_rows.write_call, self.step_id, self._token, attempt))
            if self._is_closed:  # the call comes from a task of the agent that outlived its step
                await finished(_surely(call_rows.retell_decision, self.step_id))
        except asyncio.CancelledError:
            # The request was never sent, so its end will not be reported.
            await finished(_surely(call_rows.withdraw_call, attempt.call_id))
            raise
        crashpoints.reach(f"{self._side} call written", about=attempt.user_message)

    async def step_was_closed(self, *, saying_called: bool) -> None:
        """Note that the step's row is closed; correct it if a call began during that write."""
        self._is_closed = True
        if self.has_called and not saying_called:
            await _surely(call_rows.retell_decision, self.step_id)

    async def attempt_ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """Complete the call's row and check that the requested model is the one that answered."""
        crashpoints.reach(f"{self._side} call answered")
        completion = outcome.learnt
        check = await _checked(attempt, completion) if completion else _SAME
        if completion is not None:
            self.served_model = completion.served_model
            self._add_cost(completion)
        self.upstream = outcome.upstream
        if outcome.completion is not None:
            # An agent may make several calls; the last one counts.
            self.fell_back_to = attempt.requested_model if attempt.is_fallback else ""
        await _surely(
            call_rows.complete_call, self._run_id, attempt.call_id, outcome, check.differs
        )
        if check.is_told and completion is not None:
            self._alert(
                f"{self._agent}: asked for {attempt.requested_model}, "
                f"answered by {completion.served_model} (call {attempt.call_id}){check.advice}"
            )

    def _add_cost(self, completion: Completion) -> None:
        if completion.cost_usd is not None:
            self.cost_usd = (self.cost_usd or Decimal(0)) + completion.cost_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """Whether the served model differs from the requested one, and whether to alert."""

    differs: bool
    is_told: bool
    advice: str = ""


_SAME = _Check(differs=False, is_told=False)
_OTHER = _Check(differs=True, is_told=True)
_TOLD_BEFORE = _Check(differs=True, is_told=False)
_NEW_NAME = _Check(
    differs=True,
    is_told=True,
    advice=". This is told once. If it is the same model, say so under Served names in the admin.",
)


async def _checked(attempt: Attempt, completion: Completion) -> _Check:
    """Compare requested and served model; query the database only if the names differ."""
    requested, served = attempt.requested_model, completion.served_model
    if not served or is_same_name(requested, served):
        return _SAME
    is_openrouter = attempt.provider == OpenRouterProvider.name
    is_same = is_same_model(requested, served, has_variants=is_openrouter)
    by_name = _OTHER if is_same is False else _SAME
    try:
        if is_openrouter:
            verdict = await sync_to_async(_twice)(is_served, requested, served)
            return _OTHER if verdict is False else _SAME
        if by_name is _SAME or attempt.provider not in served_names.PROVIDERS:
            return by_name
        seen = await sync_to_async(_twice)(
            served_names.note, attempt.provider, requested, clean(served)
        )
    except DatabaseError:
        logger.warning("call=%s: its model cannot be looked up", attempt.call_id, exc_info=True)
        return by_name
    if seen.is_same:
        return _SAME
    return _NEW_NAME if seen.is_new else _TOLD_BEFORE


def _twice(ask: Callable[..., T], *arguments: str) -> T:
    """Return a query's result; retry once on a new connection if the old one was dead."""
    try:
        return ask(*arguments)
    except OperationalError:
        close_broken()
        return ask(*arguments)


async def finished(writing: Awaitable[T]) -> T:
    """Wait until a write has ended and return its result, even if the caller is cancelled.

    Otherwise a row could be written without its id being known, and could not be closed. The
    cancellation is raised once the write has ended.
    """
    task = asyncio.ensure_future(writing)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            # Retrieved here, or the loop would log later that it never was.
            raise cancellation from failure
        raise cancellation
    return task.result()


def run_started(lease: RunLease, opening: RunOpening) -> asyncio.Future[None]:
    """Write the run's row with all inputs that its agents may see."""
    return submit(rows.write_run, lease, opening)


async def run_ended(lease: RunLease, status: RunStatus, answer: str = "") -> None:
    """Close the run's row; raises Superseded."""
    await _surely(rows.close_run, lease, status, answer)


def step_queued(
    lease: RunLease, place: StepPlace, add: Callable[[Sequence[Task]], None]
) -> asyncio.Future[None]:
    """Queue a background step by writing its row and its task; raises Superseded."""
    return submit(rows.queue_step, lease, place, add)


def step_started(
    lease: Lease,
    run_id: UUID,
    place: StepPlace,
    inputs: Mapping[str, Any],
    choice: ModelChoice | None,
) -> asyncio.Future[UUID]:
    """Write the step's row with its inputs and model (None if no model could be chosen).

    Raises:
        Superseded: the lease is no longer held.
    """
    return submit(rows.write_step, lease, run_id, place, inputs, choice)


async def step_ended(step_id: UUID, token: UUID, end: StepEnd) -> None:
    """Close the step's row.

    Raises:
        Superseded: another worker has taken the step over.
    """
    await _surely(rows.close_step, step_id, token, end)


async def _surely(write: Callable[..., None], *arguments: Any) -> None:
    """Run a write; if the connection has died, retry on new ones for up to 60 s.

    The write records something that has happened and may have cost money, so it must not be lost
    with a connection.
    """
    try:
        await submit(write, *arguments)
    except OperationalError:
        async for attempt in stamina.retry_context(
            on=OperationalError, attempts=None, wait_initial=0.1, wait_max=2.0, timeout=60.0
        ):
            with attempt:
                await sync_to_async(close_broken)()
                await submit(write, *arguments)
