"""The only writer of runs, step runs and LLM calls.

What happens in a run is submitted to its `RunJournal` in order, without waiting, so that
consecutive facts share a commit (`pipeline.journal.writer`). Only `barrier` waits. It stands before
anything that leaves the process: a request to a provider, and the end of the run, after which the
answer is sent. So a request's row is durable before the request is sent, and an answer with its
cost before anybody sees it. No transaction stays open across a call to a provider. API keys are
never passed here, only their fingerprints.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import DatabaseError, InterfaceError, OperationalError
from django.utils import timezone

from agents import served_names
from agents.catalog import is_served
from agents.connections import twice
from agents.llm.base import Attempt, Outcome
from agents.llm.completion import Completion
from agents.llm.errors import OverBudget
from agents.llm.model_match import is_same_model, is_same_name
from agents.llm.openrouter import OpenRouterProvider
from pipeline import crashpoints
from pipeline.budgets import turns
from pipeline.budgets.ledger import Admission, note_refusal
from pipeline.budgets.turns import Refusal
from pipeline.budgets.words import explained
from pipeline.journal import call_rows, rows
from pipeline.journal.facts import (
    ModelChoice,
    OpenStep,
    RunOpening,
    RunRefused,
    StepEnd,
    StepPlace,
    StepRow,
)
from pipeline.journal.fencing import Lease, RunLease, Superseded
from pipeline.journal.text_store import clean
from pipeline.journal.writer import Chain, RecordFailed, writer_here
from pipeline.models.inbox import Task
from pipeline.models.runs import RunStatus, StepMode, StepStatus

logger = logging.getLogger(__name__)

LEAST_FOR_A_CALL_S = 1.0  # that a call which waited must have left
PATIENCE_SHARE = 3  # of a step's time, in which a call waits for room in a budget
# Why a call was not sent.
CANCELLED = "cancelled before it was sent"
UNRECORDED = "not sent, because its run could not be recorded"

NotifyOperators = Callable[[str], None]
P = ParamSpec("P")
T = TypeVar("T")


def log_alert(text: str) -> None:
    """Log an alert; the bot sends it to the operators' chat as well."""
    logger.error("alert: %s", text)


class RunJournal:
    """The facts of one run, written in the order of their submission.

    A fact that cannot be written fails every later `barrier`, so that a run whose record has a gap
    sends no further request and gives no answer. Nor is it recorded to have gone on: behind a gap,
    only what calls cost and what did not succeed is written, and the next attempt at the run
    resumes it before the gap.
    """

    def __init__(self) -> None:
        self._chain = Chain()
        self._pending: deque[asyncio.Future[Any]] = deque()
        self._error: BaseException | None = None
        self._is_new = False  # opened here, so that no step of it was attempted before

    def run_started(self, lease: RunLease, opening: RunOpening) -> None:
        """Write the run's row with all inputs that its agents may see."""
        self._is_new = True
        self._add(rows.write_run, lease, opening, timezone.now())

    def run_ended(self, lease: RunLease, status: RunStatus, answer: str = "") -> None:
        """Close the run's row; `barrier` must follow before the answer is sent."""
        close = partial(rows.close_run, lease, status, answer, timezone.now())
        self._add_lasting(close, despite_gap=status is not RunStatus.OK)

    def step_queued(
        self, lease: RunLease, place: StepPlace, add: Callable[[Sequence[Task]], None]
    ) -> None:
        """Queue a background step by writing its row and its task."""
        self._add_lasting(partial(rows.queue_step, lease, place, add))

    def step_started(
        self,
        lease: Lease,
        run_id: UUID,
        place: StepPlace,
        inputs: Mapping[str, Any],
        choice: ModelChoice | None,
    ) -> StepRow:
        """Write the step's row with its inputs and model (None if no model could be chosen)."""
        now = timezone.now()
        row = StepRow(agent=place.agent, started_at=now, is_of_new_run=self._is_new)
        self._add(rows.write_step, lease, run_id, row, place, inputs, choice)
        return row

    def step_ended(self, row: StepRow, token: UUID, end: StepEnd) -> asyncio.Future[None]:
        """Close the step's row."""
        close = partial(rows.close_step, row, token, end, timezone.now())
        return self._add_lasting(close, despite_gap=end.status is not StepStatus.OK)

    def call_started(
        self, step_id: UUID, token: UUID, attempt: Attempt
    ) -> asyncio.Future[Admission]:
        """Write the row of a call that is about to be sent, if the team's budgets have room for it.

        `barrier` must follow before the admission is read.
        """
        return self._add(call_rows.write_call, step_id, token, attempt)

    def call_withdrawn(self, call_id: UUID, why: str) -> None:
        """Close a call that was never sent, with the reason as its error."""
        self._add_lasting(partial(call_rows.withdraw_call, call_id, why), despite_gap=True)

    def call_ended(
        self, run_id: UUID, call_id: UUID, outcome: Outcome, *, is_mismatch: bool
    ) -> asyncio.Future[None]:
        """Record how a call ended and what it cost."""
        complete = partial(call_rows.complete_call, run_id, call_id, outcome, is_mismatch)
        return self._add_lasting(complete, despite_gap=True)

    def called_after_all(self, step_id: UUID) -> None:
        """Correct a closed step that was recorded as having made no call."""
        self._add_lasting(partial(call_rows.retell_decision, step_id), despite_gap=True)

    async def barrier(self) -> None:
        """Return once every fact submitted so far is durable; a cancellation is raised only then.

        Raises:
            RunRefused: the run may not begin.
            Superseded: another worker has taken over what a fact is about.
            DatabaseError: a fact could not be written.
        """
        await self.flush()
        if isinstance(self._error, RunRefused | Superseded | DatabaseError):
            raise self._error
        if isinstance(self._error, InterfaceError):  # for Django, no DatabaseError
            raise OperationalError("the connection was closed") from self._error
        if self._error is not None:
            raise RecordFailed("a fact of this run could not be recorded") from self._error

    async def flush(self) -> None:
        """Wait until every fact submitted so far is written or has failed, even if cancelled."""
        cancellation: asyncio.CancelledError | None = None
        submitted = list(self._pending)
        while unwritten := [written for written in submitted if not written.done()]:
            writer_here().begin()
            try:
                await asyncio.wait(unwritten)
            except asyncio.CancelledError as error:
                cancellation = error
        self._settle()
        if cancellation is not None:
            raise cancellation

    def _add(
        self, write: Callable[P, T], *arguments: P.args, **options: P.kwargs
    ) -> asyncio.Future[T]:
        perform = partial(write, *arguments, **options)
        return self._noted(writer_here().add(perform, chain=self._chain))

    def _add_lasting(
        self, perform: Callable[[], T], *, despite_gap: bool = False
    ) -> asyncio.Future[T]:
        """Add a fact that has happened and may have cost money: it outlives a broken connection."""
        added = writer_here().add(
            perform, chain=self._chain, must_last=True, despite_gap=despite_gap
        )
        return self._noted(added)

    def _noted(self, written: asyncio.Future[T]) -> asyncio.Future[T]:
        self._settle()
        self._pending.append(written)
        # Looked at here, or the loop would complain about errors that no barrier follows.
        written.add_done_callback(_looked_at)
        return written

    def _settle(self) -> None:
        """Forget the facts that are written; note the first that could not be."""
        while self._pending and self._pending[0].done():
            written = self._pending.popleft()
            error = asyncio.CancelledError() if written.cancelled() else written.exception()
            self._error = self._error or error


def told_when_recorded(written: asyncio.Future[Any], alert: NotifyOperators, text: str) -> None:
    """Alert the operators once what the alert is about is on record."""

    def tell(_: object) -> None:
        if not written.cancelled() and written.exception() is None:
            alert(text)

    written.add_done_callback(tell)


def _looked_at(written: asyncio.Future[Any]) -> None:
    if not written.cancelled():
        written.exception()


class StepRecorder:
    """Observes the LLM calls of one step run, submits their rows and sums their cost."""

    def __init__(self, journal: RunJournal, step: OpenStep, alert: NotifyOperators) -> None:
        self.step_id = step.id
        self.served_model = ""
        self.upstream = ""
        self.cost_usd: Decimal | None = None
        self.fell_back_to = ""
        self._calls = 0  # that are on record, or about to be
        self._is_closed = False  # whether the step's end was submitted
        self._journal = journal
        self._run_id = step.run_id
        self._token = step.token
        self._agent = step.place.agent
        self._side = "background" if step.place.mode is StepMode.BACKGROUND else "foreground"
        self._patience_s = step.deadline_s / PATIENCE_SHARE
        self._ends_at = time.monotonic() + step.deadline_s - LEAST_FOR_A_CALL_S
        self._alert = alert

    @property
    def has_called(self) -> bool:
        """Whether a call of this step is on record, or about to be."""
        return self._calls > 0

    async def attempt_started(self, attempt: Attempt) -> None:
        """Write the call's row; the request is sent only after this returns.

        Raises:
            OverBudget: a budget has no room for what the call may cost.
            Superseded: another worker has taken the step over, so the request must not be sent.
        """
        refusal = await self._submitted(attempt)
        if refusal is not None and not refusal.is_for_good:
            refusal = await self._waited(attempt, refusal)
        if refusal is not None:
            told, member_line = await sync_to_async(explained)(refusal)
            raise OverBudget(told, member_line=member_line)
        if self._is_closed:  # the call comes from a task of the agent that outlived its step
            self._journal.called_after_all(self.step_id)
            await self._last_words()
        crashpoints.reach(f"{self._side} call written", about=attempt.user_message)

    async def _waited(self, attempt: Attempt, refusal: Refusal) -> Refusal | None:
        """Wait for room in a budget, in all calls of the step together no longer than agreed."""
        began_at = time.monotonic()
        retry = partial(self._submitted, attempt)
        within_s = min(self._patience_s, self._ends_at - began_at)
        last = await turns.take_turn(attempt.call_id, refusal, retry, within_s=within_s)
        self._patience_s -= time.monotonic() - began_at
        if last is not None and not last.is_for_good:
            await sync_to_async(note_refusal)(last)
        return last

    async def _submitted(self, attempt: Attempt) -> Refusal | None:
        """Submit the call's row and wait until it is durable, or refused."""
        self._calls += 1
        written = self._journal.call_started(self.step_id, self._token, attempt)
        try:
            await self._journal.barrier()
        except BaseException as error:
            # The request was never sent, so its end will not be reported; its row may exist.
            if self._is_closed:
                self._journal.called_after_all(self.step_id)
            is_cancelled = isinstance(error, asyncio.CancelledError)
            self._journal.call_withdrawn(attempt.call_id, CANCELLED if is_cancelled else UNRECORDED)
            await self._last_words()
            raise
        refusal = written.result().refusal
        if refusal is not None:
            self._calls -= 1
        return refusal

    def step_was_closed(self) -> None:
        """Note that the step's end was submitted, so that later calls are known as leftovers."""
        self._is_closed = True

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
        written = self._journal.call_ended(
            self._run_id, attempt.call_id, outcome, is_mismatch=check.differs
        )
        written.add_done_callback(lambda _: turns.settled())
        if check.is_told and completion is not None:
            text = (
                f"{self._agent}: asked for {attempt.requested_model}, "
                f"answered by {completion.served_model} (call {attempt.call_id}){check.advice}"
            )
            told_when_recorded(written, self._alert, text)
        await self._last_words()

    async def _last_words(self) -> None:
        """Wait for the record of a call that outlived its step: no barrier of the run follows."""
        if self._is_closed:
            await self._journal.flush()

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
            admission = await sync_to_async(twice)(is_served, requested, served)
            return _OTHER if admission is False else _SAME
        if by_name is _SAME or attempt.provider not in served_names.PROVIDERS:
            return by_name
        seen = await sync_to_async(twice)(
            served_names.note, attempt.provider, requested, clean(served)
        )
    except DatabaseError:
        logger.warning("call=%s: its model cannot be looked up", attempt.call_id, exc_info=True)
        return by_name
    if seen.is_same:
        return _SAME
    return _NEW_NAME if seen.is_new else _TOLD_BEFORE
