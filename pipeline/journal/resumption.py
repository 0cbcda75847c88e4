"""Read a run back from its record, to resume it after a restart or to report its outcome.

Taking a run over replaces its attempt token with the new worker's, so the previous worker, which
was presumed dead, can no longer write.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from agents.base import AgentOutput, Inputs
from pipeline.journal.fencing import TaskLease
from pipeline.journal.reports import KeptRun, KeptStep, RunReport, StepReport
from pipeline.journal.rows import interrupt
from pipeline.journal.text_store import grouped
from pipeline.models.runs import (
    CallStatus,
    LLMCall,
    PipelineRun,
    RunStatus,
    StepMode,
    StepRun,
    TextBlob,
)
from pipeline.models.runs import StepStatus as S

ENDED = (S.OK, S.FAILED, S.SKIPPED)  # cancelled and interrupted steps run again
TEXTS = ("definition", "background", "user_message", "image", "answer")
REOPENED = (RunStatus.WAITING, RunStatus.RUNNING, RunStatus.INTERRUPTED, RunStatus.GIVEN_UP)


def take_over(update_id: int, lease: TaskLease) -> KeptRun | None:
    """Take over the run of an update and return it; None if it has no run yet.

    Raises:
        Superseded: another worker has the update's task.
    """
    runs = PipelineRun.objects.filter(update_id=update_id)
    if not runs.exists():  # the usual case, which needs no transaction
        lease.assert_held()
        return None
    return _taken(runs, lease)


def take_over_rerun(run_id: UUID, lease: TaskLease) -> KeptRun | None:
    """Take over an operator's rerun and return it; None if it is gone; raises as `take_over`."""
    return _taken(PipelineRun.objects.filter(pk=run_id), lease)


@grouped
def _taken(runs: QuerySet[PipelineRun], lease: TaskLease) -> KeptRun | None:
    lease.assert_held()
    run = runs.select_for_update().first()
    if run is None:
        return None
    if run.status == RunStatus.WAITING:
        run.started_at = timezone.now()  # until now it was only requested
    run.attempt_token = lease.token
    # Close the steps that the previous worker left open; if it wakes up, it can no longer write.
    interrupt(StepRun.objects.filter(run=run).exclude(mode=StepMode.BACKGROUND))
    if run.status in REOPENED:
        run.status, run.ended_at = RunStatus.RUNNING, None
    run.save(update_fields=["attempt_token", "status", "started_at", "ended_at"])
    return _kept(run)


def has_ended(step: StepRun) -> bool:
    """Tell whether any attempt at a step has ended with an outcome."""
    attempts = StepRun.objects.filter(run_id=step.run_id, position=step.position)
    return attempts.filter(status__in=ENDED).exists()


def read_back(run_id: UUID) -> KeptRun:
    """Return a run from its record without taking it over, for a background step."""
    return _kept(PipelineRun.objects.select_related(*TEXTS).get(pk=run_id))


def _kept(run: PipelineRun) -> KeptRun:
    calls = Prefetch("calls", LLMCall.objects.order_by("started_at"))
    rows = (
        StepRun.objects.filter(run=run, status__in=ENDED)
        .exclude(mode=StepMode.BACKGROUND)
        .select_related("output", "reply")
        .prefetch_related(calls)
        .order_by("position", "attempt")
    )
    steps = tuple(_step(row) for row in rows)
    background = json.loads(_text(run.background) or "{}")
    return KeptRun(
        report=RunReport(
            run_id=run.pk,
            pipeline=run.pipeline,
            status=RunStatus(run.status),
            answer=_text(run.answer),
            steps=[step.report for step in steps],
        ),
        definition=_text(run.definition),
        inputs=Inputs.from_record(
            {**background, "user_message": _text(run.user_message), "image_b64": _text(run.image)}
        ),
        steps=steps,
    )


def _step(row: StepRun) -> KeptStep:
    output = AgentOutput(
        agent=row.agent,
        success=row.status == S.OK,
        data=_data(row),
        reply=_text(row.reply),
        error=row.error or None,
        was_repaired=row.was_repaired,
    )
    return KeptStep(report=_report(row), output=output)


def _report(row: StepRun) -> StepReport:
    calls = list(row.calls.all())
    costs = [call.cost_usd for call in calls if call.cost_usd is not None]
    return StepReport(
        agent=row.agent,
        mode=StepMode(row.mode),
        position=row.position,
        status=S(row.status),
        requested_model=row.requested_model,
        served_model=next((call.served_model for call in reversed(calls) if call.served_model), ""),
        upstream=calls[-1].upstream if calls else "",
        payer=row.payer,
        decision=row.decision,
        cost_usd=sum(costs, Decimal(0)) if costs else None,
        latency_ms=row.took_ms or 0,
        error=row.error or None,
        member_line=row.member_line,
        fell_back_to=_fallback_model(calls),
    )


def _fallback_model(calls: Sequence[LLMCall]) -> str:
    """Return the fallback model if it gave the last answer of the step, else "".

    An agent may make several calls in a step.
    """
    answered = [call for call in calls if call.status == CallStatus.OK]
    return answered[-1].requested_model if answered and answered[-1].is_fallback else ""


def _data(row: StepRun) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(_text(row.output) or "{}")
    return data


def _text(kept: TextBlob | None) -> str:
    return kept.text if kept is not None else ""
