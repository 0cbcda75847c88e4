"""The rows of runs and step runs, written in the ORM's thread for `pipeline.journal.records`.

Each function is one transaction. Functions that record the outcome of an attempt first check that
it may still write (`Lease`). The rows of calls are written in `pipeline.journal.call_rows`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from agents.override_changes import UNDONE_WITHIN
from pipeline.budgets import ledger
from pipeline.journal import hooks, text_store, traces
from pipeline.journal.facts import ModelChoice, RunOpening, StepEnd, StepPlace, StepRow
from pipeline.journal.fencing import Lease, RunLease, Superseded, progressed
from pipeline.journal.sentences import sentence
from pipeline.journal.statements import insert, read, update
from pipeline.journal.text_store import clean, grouped
from pipeline.models.budgets import ReservationState
from pipeline.models.inbox import Task, TaskKind
from pipeline.models.operations import PeriodicJob
from pipeline.models.runs import (
    CallStatus,
    DecisionSource,
    LLMCall,
    PipelineRun,
    RunStatus,
    StepRun,
    StepStatus,
)
from pipeline.models.sources import rules_of, sources_where

text_store.gather_also(ledger.gathering)  # as `call_rows` does: either may be used alone
OTHERS_ABANDONED_AFTER = timedelta(hours=2)  # twice the maximum of RUN_DEADLINE_SECONDS


# --- runs ---------------------------------------------------------------------------------------


@grouped
def write_run(lease: RunLease, opening: RunOpening, started_at: datetime) -> None:
    """Open a run with all inputs that its agents may see; raises RunRefused."""
    if opening.admit is not None:
        opening.admit()
    background = {name: text for name, text in opening.inputs.by_name().items() if text}
    message, image = background.pop("user_message", ""), background.pop("image_b64", "")
    row = {
        "id": lease.run_id,
        "pipeline": opening.pipeline,
        "member_id": opening.member_id,
        "source": opening.source,
        "started_by": opening.started_by,
        "has_recorded_texts": opening.has_recorded_texts,
        "update_id": opening.update_id,
        "attempt_token": lease.token,
        "definition_id": text_store.put(opening.definition),
        "user_message_id": text_store.put(message),
        "background_id": text_store.put(_json(background)),
        "image_id": text_store.put(image),
        "started_at": started_at,
    }
    insert(PipelineRun, row)
    progressed(lease.token)


@transaction.atomic
def write_rerun(
    run_id: UUID,
    old: PipelineRun,
    opening: RunOpening,
    add: Callable[[Sequence[Task]], None],
) -> None:
    """Write a rerun: today's pipeline on the inputs of an old run, with the task that starts it.

    It belongs to the old run's member, so an erasure of that member includes it.
    """
    run = PipelineRun.objects.create(
        id=run_id,
        pipeline=opening.pipeline,
        member_id=old.member_id,
        source=opening.source,
        started_by=opening.started_by,
        rerun_of=old,
        status=RunStatus.WAITING,
        definition_id=text_store.put(opening.definition),
        user_message_id=old.user_message_id,
        background_id=old.background_id,
        image_id=old.image_id,
        started_at=timezone.now(),
    )
    add([Task(kind=TaskKind.RERUN, run=run)])


@grouped
def close_run(lease: RunLease, status: RunStatus, answer: str, ended_at: datetime) -> None:
    """Close a run; raises Superseded."""
    end = {"status": status, "answer_id": text_store.put(answer), "ended_at": ended_at}
    if not update(PipelineRun, end, id=lease.run_id, attempt_token=lease.token):
        raise Superseded(f"run {lease.run_id} is in other hands")
    traces.run_ended(lease.run_id)


@grouped
def close_run_of(update_id: int, status: RunStatus) -> None:
    """Close the run that an update's task leaves open as it ends; do nothing if there is none."""
    _close_open(PipelineRun.objects.filter(update_id=update_id), status)


@grouped
def give_run_up(run_id: UUID) -> None:
    """Close an operator's rerun that no worker could finish."""
    _close_open(PipelineRun.objects.filter(pk=run_id), RunStatus.GIVEN_UP)


def _close_open(runs: QuerySet[PipelineRun], status: RunStatus) -> None:
    # Lock the run before its calls: `complete_call` uses the same order.
    unended = runs.filter(status__in=(RunStatus.WAITING, RunStatus.RUNNING))
    run = unended.select_for_update().first()
    if run is not None:
        interrupt(StepRun.objects.filter(run=run, task=None))
        PipelineRun.objects.filter(pk=run.pk).update(
            status=status, attempt_token=None, ended_at=timezone.now()
        )
        traces.run_ended(run.pk)


@grouped
def close_orphans() -> int:
    """Close the open runs that no process will resume; return their number.

    The run of an update is an orphan if the update has no open task to resume it. Runs that nothing
    resumes are orphans once they are older than `OTHERS_ABANDONED_AFTER`.
    """
    is_abandoned = Q(source__in=sources_where("answers_update")) & ~Q(
        update__tasks__in=Task.objects.filter(ended_at=None)
    )
    is_too_old = ~Q(source__in=sources_where("is_resumed")) & Q(
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


@grouped
def queue_step(lease: RunLease, place: StepPlace, add: Callable[[Sequence[Task]], None]) -> None:
    """Write a background step with its task, only once even if the run is resumed several times."""
    lease.assert_held()
    if StepRun.objects.filter(run_id=lease.run_id, position=place.position).exists():
        return
    row = StepRun.objects.create(
        id=uuid4(),
        run_id=lease.run_id,
        position=place.position,
        agent=place.agent,
        mode=place.mode,
        status=StepStatus.WAITING,
        started_at=timezone.now(),
    )
    add([Task(kind=TaskKind.STEP, step=row)])


@grouped
def give_step_up(step_id: UUID) -> None:
    """Close a background step that no worker could finish."""
    step = StepRun.objects.get(pk=step_id)
    attempts = StepRun.objects.filter(run_id=step.run_id, position=step.position)
    interrupt(attempts)
    given_up = attempts.filter(status=StepStatus.WAITING).update(
        status=StepStatus.FAILED, error="given up before it could begin", ended_at=timezone.now()
    )
    hooks.changed(step.started_at)
    if given_up:
        traces.step_ended(step_id)


@grouped
def write_step(
    lease: Lease,
    run_id: UUID,
    row: StepRow,
    place: StepPlace,
    inputs: Mapping[str, Any],
    choice: ModelChoice | None,
) -> None:
    """Open an attempt at a step with its model choice and inputs; raises Superseded.

    An earlier attempt that is still open is closed: its worker is gone. If a row waits for this
    step to be started, it becomes the attempt, and `row` gets its id. A run that this worker has
    opened itself has no earlier attempts, so none are looked for.
    """
    lease.assert_held()
    known = ("id", "attempt", "status")
    earlier = []  # usually
    if not row.is_of_new_run:
        earlier = read(StepRun, known, run_id=run_id, position=place.position)
    if any(status == StepStatus.RUNNING for _, _, status in earlier):
        interrupt(StepRun.objects.filter(run_id=run_id, position=place.position))
    opening = {
        "status": StepStatus.RUNNING,
        "attempt_token": lease.token,
        "inputs_id": text_store.put(_json(inputs)),
        "started_at": row.started_at,
        **(_chosen(choice) if choice is not None else {}),
    }
    for waiting_id, _, status in earlier:
        if status == StepStatus.WAITING:
            update(StepRun, opening, id=waiting_id)
            row.id = waiting_id
            return
    new = {
        "id": row.id,
        "run_id": run_id,
        "position": place.position,
        "attempt": max((attempt for _, attempt, _ in earlier), default=0) + 1,
        "agent": place.agent,
        "mode": place.mode,
        **opening,
    }
    insert(StepRun, new)


def _chosen(choice: ModelChoice) -> dict[str, Any]:
    return {"decision": sentence(choice)} | {
        fact.name: getattr(choice, fact.name) for fact in fields(choice)
    }


@grouped
def close_step(row: StepRow, token: UUID, ended: StepEnd, ended_at: datetime) -> None:
    """Close an attempt at a step; raises Superseded."""
    status, output = ended.status, ended.output
    end = {
        "status": status,
        "output_id": text_store.put(_json(output.data) if output.success else ""),
        "reply_id": text_store.put(output.reply if output.success else ""),
        "was_repaired": output.was_repaired,
        "error": clean(output.error or ""),
        "error_type": ended.error_type[:100],
        "member_line": ended.member_line[:200],
        "decision": ended.decision,
        "has_called": ended.has_called,
        "fell_back_to": ended.fell_back_to[:200],
        "ended_at": ended_at,
    }
    if not update(StepRun, end, id=row.id, attempt_token=token):
        raise Superseded(f"step run {row.id} is in other hands")
    hooks.changed(row.started_at)
    if status is StepStatus.OK and (learn := hooks.learner_of(row.agent)) is not None:
        step = StepRun.objects.select_related("run").get(pk=row.id)
        if rules_of(step.run.source).learns:
            learn(step, output.data)
    if status is StepStatus.FAILED or ended.fell_back_to:
        _hasten_alerts(row, ended_at)
    progressed(token)
    traces.step_ended(row.id)


def _hasten_alerts(row: StepRow, ended_at: datetime) -> None:
    """Have operators alerted at once if the step's override was set a few minutes ago."""
    steps = StepRun.objects.filter(pk=row.id, decision_source=DecisionSource.OVERRIDE)
    if steps.filter(set_at__gt=ended_at - UNDONE_WITHIN).exists():
        # After the commit: a job's row must not stay locked for as long as the group takes.
        hasten = partial(PeriodicJob.hasten, PeriodicJob.ALERTS)
        transaction.on_commit(hasten, robust=True)


def interrupt(steps: QuerySet[StepRun]) -> None:
    """Close the steps and calls that a dead worker left open, and revoke its right to write.

    The caller's transaction is a `text_store.gathering`, at whose end budgets are settled: their
    rows are locked last.
    """
    running = dict(steps.filter(status=StepStatus.RUNNING).values_list("pk", "started_at"))
    if not running:
        return
    calls = LLMCall.objects.filter(step__in=running, status=CallStatus.RUNNING)
    under_way = dict(calls.values_list("pk", "started_at"))
    hooks.changed(*running.values(), *under_way.values())
    calls.update(status=CallStatus.INTERRUPTED)
    for call_id in under_way:  # nobody knows whether they were charged
        ledger.settle(call_id, ReservationState.UNKNOWN)
    StepRun.objects.filter(pk__in=running).update(
        status=StepStatus.INTERRUPTED, attempt_token=None, ended_at=timezone.now()
    )
    traces.interrupted(list(running))


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1, default=str) if content else ""
