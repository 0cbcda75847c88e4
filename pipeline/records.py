"""The only writer of runs, step runs and LLM calls.

Every row is written before what it records and completed after it, each write in a transaction of
its own. Writing goes through Django's one ORM thread; no transaction stays open across a call to
a provider. Keys never get here: of a key there is its fingerprint.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID, uuid4

import stamina
from asgiref.sync import sync_to_async
from django.db import OperationalError, close_old_connections, transaction
from django.db.models import Value
from django.db.models.functions import Replace
from django.utils import timezone

from agents.base import AgentOutput
from agents.llm.base import Attempt, Completion, Outcome
from agents.llm.keys import scrub
from agents.llm.tripwire import is_same_model
from pipeline.config import PipelineConfig, StepConfig
from pipeline.context import Decision, PipelineContext
from pipeline.models.runs import (
    CallStatus,
    LLMCall,
    PipelineRun,
    PromptText,
    RunStatus,
    Source,
    StepRun,
    StepStatus,
)

logger = logging.getLogger(__name__)

Alert = Callable[[str], None]
T = TypeVar("T")


def log_alert(text: str) -> None:
    """Alert whoever reads the log; the bot alerts the operators' chat as well."""
    logger.error("alert: %s", text)


class StepRecorder:
    """The record of one step run: told of every attempt, it writes rows and keeps the tally."""

    def __init__(self, step_id: UUID, agent: str, alert: Alert) -> None:
        self.step_id = step_id
        self.served_model = ""
        self.cost_usd: Decimal | None = None
        self.fell_back_to = ""
        self.has_called = False
        self.has_told_so = False  # the step's row is closed, saying that no model was asked
        self._agent = agent
        self._alert = alert

    async def attempt_started(self, attempt: Attempt) -> None:
        """Write the call's row; the request leaves only after this returned."""
        self.has_called = True
        try:
            await finished(sync_to_async(_write_call)(self.step_id, attempt))
            if self.has_told_so:  # an agent's own task that outlived its step
                await finished(_surely(_retell_decision, self.step_id))
        except asyncio.CancelledError:
            # Nobody will tell how it ended, because it never began.
            await finished(_surely(_withdraw_call, attempt.call_id))
            raise

    async def attempt_ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """Complete the call's row and look whether the model asked for is the one that answered."""
        completion = outcome.learnt
        mismatch = (
            completion is not None
            and is_same_model(attempt.requested_model, completion.served_model) is False
        )
        if completion is not None:
            self.served_model = completion.served_model
            self._add_cost(completion)
        if outcome.completion is not None:
            # Of the call that counts, the last: an agent may ask twice.
            self.fell_back_to = attempt.requested_model if attempt.is_fallback else ""
        await _surely(_complete_call, attempt.call_id, outcome, mismatch)
        if mismatch and completion is not None:
            self._alert(
                f"{self._agent}: asked for {attempt.requested_model}, "
                f"answered by {completion.served_model} (call {attempt.call_id})"
            )

    def _add_cost(self, completion: Completion) -> None:
        if completion.cost_usd is not None:
            self.cost_usd = (self.cost_usd or Decimal(0)) + completion.cost_usd


async def finished(writing: Awaitable[T]) -> T:
    """Return what a write returns, once it has ended: also if its waiter is being cancelled.

    A row that is half known cannot be closed. Cancellations are passed on afterwards.
    """
    task = asyncio.ensure_future(writing)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        raise cancellation
    return task.result()


async def run_started(
    run_id: UUID,
    pipeline: PipelineConfig,
    ctx: PipelineContext,
    source: Source,
    member_id: int | None,
) -> None:
    """Write the run's row with all that its agents may see."""
    await sync_to_async(_write_run)(run_id, pipeline, ctx, source, member_id)


async def run_ended(run_id: UUID, status: RunStatus, answer: str = "") -> None:
    """Close the run's row."""
    await _surely(_close_run, run_id, status, answer)


async def step_started(
    run_id: UUID,
    position: int,
    step: StepConfig,
    passages: Mapping[str, Any],
    decision: Decision | None,
) -> UUID:
    """Write the step's row with its decision (None: it never got a provider) and its inputs."""
    return await sync_to_async(_write_step)(run_id, position, step, passages, decision)


async def step_ended(step_id: UUID, status: StepStatus, output: AgentOutput, decision: str) -> None:
    """Close the step's row, with the decision in the words that the end calls for."""
    await _surely(_close_step, step_id, status, output, decision)


@transaction.atomic
def close_interrupted(source: Source) -> int:
    """Close what a process that is gone left open; return the number of runs.

    Only for the one process that executes the runs of this source, at its start.
    """
    now = timezone.now()
    runs = PipelineRun.objects.filter(source=source)
    steps = StepRun.objects.filter(run__source=source, status=StepStatus.RUNNING)
    LLMCall.objects.filter(step__run__source=source, status=CallStatus.RUNNING).update(
        status=CallStatus.INTERRUPTED
    )
    steps.update(status=StepStatus.INTERRUPTED, ended_at=now)
    return runs.filter(status=RunStatus.RUNNING).update(status=RunStatus.INTERRUPTED, ended_at=now)


async def _surely(write: Callable[..., None], *arguments: Any) -> None:
    """Complete a row, over a new connection if the old one has died meanwhile.

    What it says has happened and may have been paid: it must not be lost with a connection.
    """
    async for attempt in stamina.retry_context(
        on=OperationalError, attempts=4, wait_initial=0.1, wait_max=2.0, timeout=10.0
    ):
        with attempt:
            if attempt.num > 1:
                await sync_to_async(close_old_connections)()
            await sync_to_async(write)(*arguments)


# --- rows, in the ORM's thread ------------------------------------------------------------------


@transaction.atomic
def _write_run(
    run_id: UUID,
    pipeline: PipelineConfig,
    ctx: PipelineContext,
    source: Source,
    member_id: int | None,
) -> None:
    background = {
        "knowledge_base": ctx.knowledge_base,
        "user_memory": ctx.user_memory,
        "casebook_text": ctx.casebook_text,
        "scenario": ctx.scenario,
    }
    PipelineRun.objects.create(
        id=run_id,
        pipeline=pipeline.name,
        member_id=member_id,
        source=source,
        user_message_id=_text(ctx.user_message),
        background_id=_text(_json({k: v for k, v in background.items() if v})),
        image_id=_text(ctx.image_b64 or ""),
        started_at=timezone.now(),
    )


@transaction.atomic
def _close_run(run_id: UUID, status: RunStatus, answer: str) -> None:
    PipelineRun.objects.filter(id=run_id).update(
        status=status, answer_id=_text(answer), ended_at=timezone.now()
    )


@transaction.atomic
def _write_step(
    run_id: UUID,
    position: int,
    step: StepConfig,
    passages: Mapping[str, Any],
    decision: Decision | None,
) -> UUID:
    row = StepRun(
        id=uuid4(),
        run_id=run_id,
        position=position,
        agent=step.agent,
        mode=step.mode,
        inputs_id=_text(_json(passages)),
        started_at=timezone.now(),
    )
    if decision is not None:
        row.decision = decision.sentence
        row.provider = decision.llm.name
        row.requested_model = decision.llm.model_id
        row.purse = decision.llm.purse
        row.override_version = decision.override_version
        row.snapshot_version = decision.snapshot_version
        row.snapshot_age_ms = decision.snapshot_age_ms
        row.is_stale = decision.is_stale
    row.save(force_insert=True)
    return row.id


@transaction.atomic
def _close_step(step_id: UUID, status: StepStatus, output: AgentOutput, decision: str) -> None:
    row = StepRun.objects.get(id=step_id)
    row.status = status
    row.output_id = _text(_json(output.data) if output.success else "")
    row.was_repaired = output.was_repaired
    row.error = _clean(output.error or "")
    row.decision = decision
    row.ended_at = timezone.now()
    row.save(update_fields=["status", "output", "was_repaired", "error", "decision", "ended_at"])


@transaction.atomic
def _write_call(step_id: UUID, attempt: Attempt) -> None:
    LLMCall.objects.create(
        id=attempt.call_id,
        step_id=step_id,
        number=attempt.number,
        provider=attempt.provider,
        requested_model=attempt.requested_model,
        is_fallback=attempt.is_fallback,
        purse=attempt.purse,
        key_fingerprint=attempt.key_fingerprint,
        system_prompt_id=_text(attempt.system_prompt),
        user_message_id=_text(attempt.user_message),
        has_image=attempt.has_image,
        started_at=timezone.now(),
    )


def _retell_decision(step_id: UUID) -> None:
    told = StepRun.objects.filter(id=step_id, decision__startswith="was to run")
    told.update(decision=Replace("decision", Value("was to run"), Value("ran")))


def _withdraw_call(call_id: UUID) -> None:
    LLMCall.objects.filter(id=call_id).update(
        status=CallStatus.ERROR, error="cancelled before it was sent"
    )


@transaction.atomic
def _complete_call(call_id: UUID, outcome: Outcome, mismatch: bool) -> None:
    fields: dict[str, Any] = {
        "status": _call_status(outcome),
        "http_status": outcome.http_status,
        "latency_ms": outcome.latency_ms,
        "is_mismatch": mismatch,
    }
    if outcome.error is not None:
        fields["error"] = _clean(f"{type(outcome.error).__name__}: {outcome.error}")
        fields["generation_id"] = _clean(outcome.error.generation_id)[:200]
    if (completion := outcome.learnt) is not None:
        fields |= _completion_fields(completion)
    LLMCall.objects.filter(id=call_id).update(**fields)


def _call_status(outcome: Outcome) -> CallStatus:
    if outcome.completion is not None:
        return CallStatus.OK
    if outcome.cancelled or (outcome.error is not None and outcome.error.maybe_charged):
        return CallStatus.UNKNOWN
    return CallStatus.ERROR


def _completion_fields(completion: Completion) -> dict[str, Any]:
    usage = completion.usage
    return {
        "served_model": _clean(completion.served_model)[:200],
        "output_id": _text(completion.text),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost_usd": completion.cost_usd,
        "cost_source": completion.cost_source,
        "finish_reason": _clean(completion.finish_reason)[:40],
        "generation_id": _clean(completion.generation_id)[:200],
    }


def _text(text: str) -> str | None:
    """Keep a text once and return its id; None for an empty one."""
    if not text:
        return None
    text = _clean(text)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    PromptText.objects.bulk_create([PromptText(sha256=sha256, text=text)], ignore_conflicts=True)
    return sha256


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1, default=str) if content else ""


def _clean(text: str) -> str:
    """Return the text as the database can hold it, without anything shaped like a key.

    PostgreSQL takes no NUL, and UTF-8 no lone surrogates.
    """
    text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return scrub(text.encode("utf-8", "replace").decode("utf-8"))
