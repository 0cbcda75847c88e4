"""The rows of runs, step runs and calls, written in the ORM's thread for `pipeline.records`.

Each function is one transaction. Those that say what an attempt came to check its right to do so
first (`Hold`); what a call has cost is booked whoever holds the run by then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Replace
from django.utils import timezone

from agents.base import AgentOutput
from agents.llm.base import Attempt, Completion, Outcome
from pipeline import figures, memory, traces, training
from pipeline.config import PipelineConfig, StepConfig
from pipeline.context import Decision, PipelineContext
from pipeline.holds import Hold, RunHold, Superseded, progressed
from pipeline.kept_texts import clean, keep_text
from pipeline.models.inbox import Task, TaskKind
from pipeline.models.runs import (
    CallStatus,
    LLMCall,
    PipelineRun,
    RunStatus,
    Source,
    StepRun,
    StepStatus,
)

BACKGROUND_FIELDS = (
    *("forwarded", "conversation"),
    *("knowledge_base", "user_memory", "casebook_text", "scenario"),
)

OTHERS_ABANDONED_AFTER = timedelta(hours=2)  # twice what RUN_DEADLINE_SECONDS may be


# --- runs ---------------------------------------------------------------------------------------


@transaction.atomic
def write_run(
    hold: RunHold,
    pipeline: PipelineConfig,
    ctx: PipelineContext,
    source: Source,
    *,
    member_id: int | None,
    update_id: int | None,
) -> None:
    """Open a run with all that its agents may see."""
    background = {name: getattr(ctx, name) for name in BACKGROUND_FIELDS}
    PipelineRun.objects.create(
        id=hold.run_id,
        pipeline=pipeline.name,
        member_id=member_id,
        source=source,
        update_id=update_id,
        attempt_token=hold.token,
        definition_id=keep_text(pipeline.model_dump_json()),
        user_message_id=keep_text(ctx.user_message),
        background_id=keep_text(_json({k: v for k, v in background.items() if v})),
        image_id=keep_text(ctx.image_b64 or ""),
        started_at=timezone.now(),
    )
    progressed(hold.token)


@transaction.atomic
def write_run_again(
    run_id: UUID,
    old: PipelineRun,
    pipeline: PipelineConfig,
    add: Callable[[Sequence[Task]], None],
) -> None:
    """Write a run of today's pipeline on what an old run was given, with the task that begins it.

    It is its member's as the old one is, so that whoever has everything erased has it erased too.
    """
    run = PipelineRun.objects.create(
        id=run_id,
        pipeline=pipeline.name,
        member_id=old.member_id,
        source=Source.AGAIN,
        again_of=old,
        status=RunStatus.WAITING,
        definition_id=keep_text(pipeline.model_dump_json()),
        user_message_id=old.user_message_id,
        background_id=old.background_id,
        image_id=old.image_id,
        started_at=timezone.now(),
    )
    add([Task(kind=TaskKind.AGAIN, run=run)])


@transaction.atomic
def close_run(hold: RunHold, status: RunStatus, answer: str) -> None:
    """Close a run; raises Superseded."""
    closed = PipelineRun.objects.filter(id=hold.run_id, attempt_token=hold.token).update(
        status=status, answer_id=keep_text(answer), ended_at=timezone.now()
    )
    if not closed:
        raise Superseded(f"run {hold.run_id} is in other hands")
    traces.run_ended(hold.run_id)


@transaction.atomic
def close_run_of(update_id: int, status: RunStatus) -> None:
    """Close the open run of an update whose task ends without it; without one do nothing."""
    _close_open(PipelineRun.objects.filter(update_id=update_id), status)


@transaction.atomic
def give_run_up(run_id: UUID) -> None:
    """Close a run that an operator asked for again, and no worker could bring to an end."""
    _close_open(PipelineRun.objects.filter(pk=run_id), RunStatus.GIVEN_UP)


def _close_open(runs: QuerySet[PipelineRun], status: RunStatus) -> None:
    # The run first, its calls afterwards: `complete_call` locks them in this order.
    unended = runs.filter(status__in=(RunStatus.WAITING, RunStatus.RUNNING))
    run = unended.select_for_update().first()
    if run is not None:
        interrupt(StepRun.objects.filter(run=run, task=None))
        PipelineRun.objects.filter(pk=run.pk).update(
            status=status, attempt_token=None, ended_at=timezone.now()
        )
        traces.run_ended(run.pk)


@transaction.atomic
def close_orphans() -> int:
    """Close the open runs that nobody will go on with; return their number.

    Those from Telegram are gone on with by a task; of others nobody knows more than their age.
    """
    is_abandoned = Q(source=Source.TELEGRAM) & ~Q(
        update__tasks__in=Task.objects.filter(ended_at=None)
    )
    is_too_old = Q(
        source__in=[Source.SHELL, Source.TRIAL],
        started_at__lt=timezone.now() - OTHERS_ABANDONED_AFTER,
    )
    orphans = PipelineRun.objects.filter(is_abandoned | is_too_old, status=RunStatus.RUNNING)
    ids = list(orphans.select_for_update(of=("self",)).values_list("pk", flat=True))
    interrupt(StepRun.objects.filter(run__in=ids, task=None))
    for run_id in ids:
        traces.run_ended(run_id)
    return PipelineRun.objects.filter(pk__in=ids).update(
        status=RunStatus.INTERRUPTED, attempt_token=None, ended_at=timezone.now()
    )


# --- steps --------------------------------------------------------------------------------------


@transaction.atomic
def queue_step(
    hold: RunHold, position: int, step: StepConfig, add: Callable[[Sequence[Task]], None]
) -> None:
    """Write a background step with its task, once however often the run is gone on with."""
    hold.check()
    if StepRun.objects.filter(run_id=hold.run_id, position=position).exists():
        return
    row = StepRun.objects.create(
        id=uuid4(),
        run_id=hold.run_id,
        position=position,
        agent=step.agent,
        mode=step.mode,
        status=StepStatus.WAITING,
        started_at=timezone.now(),
    )
    add([Task(kind=TaskKind.STEP, step=row)])


@transaction.atomic
def give_step_up(step_id: UUID) -> None:
    """Close a background step that no worker could bring to an end."""
    step = StepRun.objects.get(pk=step_id)
    attempts = StepRun.objects.filter(run_id=step.run_id, position=step.position)
    interrupt(attempts)
    given_up = attempts.filter(status=StepStatus.WAITING).update(
        status=StepStatus.FAILED, error="given up before it could begin", ended_at=timezone.now()
    )
    figures.reopen(step.started_at)
    if given_up:
        traces.step_ended(step_id)


@transaction.atomic
def write_step(
    hold: Hold,
    run_id: UUID,
    position: int,
    step: StepConfig,
    passages: Mapping[str, Any],
    decision: Decision | None,
) -> UUID:
    """Open an attempt at a step with its decision and inputs; raises Superseded.

    What an earlier attempt left open is closed: it belongs to a worker that is gone.
    """
    hold.check()
    attempts = StepRun.objects.filter(run_id=run_id, position=position)
    earlier = list(attempts)  # none as a rule, so that one query tells all there is to know
    if any(row.status == StepStatus.RUNNING for row in earlier):
        interrupt(attempts)
    row = next((row for row in earlier if row.status == StepStatus.WAITING), None) or StepRun(
        id=uuid4(),
        run_id=run_id,
        position=position,
        attempt=max((row.attempt for row in earlier), default=0) + 1,
        agent=step.agent,
        mode=step.mode,
    )
    row.status = StepStatus.RUNNING
    row.attempt_token = hold.token
    row.inputs_id = keep_text(_json(passages))
    row.started_at = timezone.now()
    if decision is not None:
        row.decision = decision.sentence
        row.provider = decision.llm.name
        row.requested_model = decision.llm.model_id
        row.purse = decision.llm.purse
        row.override_version = decision.override_version
        row.snapshot_version = decision.snapshot_version
        row.snapshot_age_ms = decision.snapshot_age_ms
        row.is_stale = decision.is_stale
    row.save()
    return row.id


@transaction.atomic
def close_step(
    step_id: UUID,
    token: UUID,
    status: StepStatus,
    output: AgentOutput,
    *,
    decision: str,
    member_line: str,
) -> None:
    """Close an attempt at a step; raises Superseded."""
    closed = StepRun.objects.filter(id=step_id, attempt_token=token).update(
        status=status,
        output_id=keep_text(_json(output.data) if output.success else ""),
        reply_id=keep_text(output.reply if output.success else ""),
        was_repaired=output.was_repaired,
        error=clean(output.error or ""),
        member_line=member_line[:200],
        decision=decision,
        ended_at=timezone.now(),
    )
    if not closed:
        raise Superseded(f"step run {step_id} is in other hands")
    step = StepRun.objects.only("agent", "run_id", "started_at").get(pk=step_id)
    figures.reopen(step.started_at)
    if status is StepStatus.OK:
        _learn(step, output.data)
    progressed(token)
    traces.step_ended(step_id)


def _learn(step: StepRun, data: Mapping[str, Any]) -> None:
    """Take in what an agent found out about the member, but not when an operator had it run again."""
    if step.agent not in (memory.AGENT, training.AGENT) or step.run.source == Source.AGAIN:
        return
    if step.agent == memory.AGENT:
        memory.learn(step, data)
    else:
        training.mark(step, data)


def interrupt(steps: QuerySet[StepRun]) -> None:
    """Close what a worker that is gone left open; should it wake up, it has lost its right."""
    running = dict(steps.filter(status=StepStatus.RUNNING).values_list("pk", "started_at"))
    if not running:
        return
    calls = LLMCall.objects.filter(step__in=running, status=CallStatus.RUNNING)
    figures.reopen(*running.values(), *calls.values_list("started_at", flat=True))
    calls.update(status=CallStatus.INTERRUPTED)
    StepRun.objects.filter(pk__in=running).update(
        status=StepStatus.INTERRUPTED, attempt_token=None, ended_at=timezone.now()
    )
    traces.interrupted(list(running))


# --- calls --------------------------------------------------------------------------------------


@transaction.atomic
def write_call(step_id: UUID, token: UUID, attempt: Attempt) -> None:
    """Write a call that is about to leave; raises Superseded, and then it must not."""
    step = StepRun.objects.select_for_update().filter(id=step_id)
    if not step.filter(attempt_token=token).exists():
        raise Superseded(f"step run {step_id} is in other hands")
    LLMCall.objects.create(
        id=attempt.call_id,
        step_id=step_id,
        number=attempt.number,
        provider=attempt.provider,
        requested_model=attempt.requested_model,
        is_fallback=attempt.is_fallback,
        purse=attempt.purse,
        key_fingerprint=attempt.key_fingerprint,
        system_prompt_id=keep_text(attempt.system_prompt),
        user_message_id=keep_text(attempt.user_message),
        has_image=attempt.has_image,
        started_at=timezone.now(),
    )


def retell_decision(step_id: UUID) -> None:
    """Let a closed step say that a model was asked after all."""
    told = StepRun.objects.filter(id=step_id, decision__startswith="was to run")
    told.update(decision=Replace("decision", Value("was to run"), Value("ran")))


def withdraw_call(call_id: UUID) -> None:
    """Close a call that never left."""
    LLMCall.objects.filter(id=call_id).update(
        status=CallStatus.ERROR, error="cancelled before it was sent"
    )


@transaction.atomic
def complete_call(call_id: UUID, outcome: Outcome, mismatch: bool) -> None:
    """Write down how a call ended and what it cost, also when its step is in other hands.

    What its run has come to by it is summed up anew: the same end may be written twice.
    """
    # First: of two calls that end at once, the second then sums up what the first one wrote.
    run = PipelineRun.objects.filter(steps__calls=call_id)
    run_id = run.select_for_update(of=("self",), no_key=True).values_list("pk", flat=True).first()
    if run_id is None:  # its rows are no longer kept
        return
    # Locked whatever is in it: an erasure that is under way ends before this one looks.
    call = LLMCall.objects.select_for_update().filter(id=call_id).order_by("pk")
    user_message, started_at, is_fallback = call.values_list(
        "user_message_id", "started_at", "is_fallback"
    ).get()
    is_erased = user_message is None
    fields: dict[str, Any] = {
        "status": _call_status(outcome),
        "http_status": outcome.http_status,
        "latency_ms": outcome.latency_ms,
        "is_mismatch": mismatch,
    }
    if outcome.error is not None:
        error = "" if is_erased else f"{type(outcome.error).__name__}: {outcome.error}"
        fields["error"] = clean(error)
        fields["generation_id"] = clean(outcome.error.generation_id)[:200]
    if (completion := outcome.learnt) is not None:
        fields |= _completion_fields(completion)
        # Its member has had everything erased meanwhile, or it is old: figures only.
        fields["output_id"] = None if is_erased else keep_text(completion.text)
    figures.reopen(started_at)
    LLMCall.objects.filter(id=call_id).update(**fields)
    calls = LLMCall.objects.filter(step__run=run_id).order_by()
    summary: dict[str, Any] = {
        "cost_usd": Subquery(calls.values("step__run").values(total=Sum("cost_usd")))
    }
    summary |= {"has_mismatch": True} if mismatch else {}
    summary |= {"has_fallback": True} if is_fallback else {}
    PipelineRun.objects.filter(pk=run_id).update(**summary)
    traces.call_ended(call_id)


def _call_status(outcome: Outcome) -> CallStatus:
    if outcome.completion is not None:
        return CallStatus.OK
    if outcome.cancelled or (outcome.error is not None and outcome.error.maybe_charged):
        return CallStatus.UNKNOWN
    return CallStatus.ERROR


def _completion_fields(completion: Completion) -> dict[str, Any]:
    usage = completion.usage
    return {
        "served_model": clean(completion.served_model)[:200],
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost_usd": completion.cost_usd,
        "cost_source": completion.cost_source,
        "finish_reason": clean(completion.finish_reason)[:40],
        "generation_id": clean(completion.generation_id)[:200],
    }


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1, default=str) if content else ""
