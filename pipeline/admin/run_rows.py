"""The steps and calls of a run for its pages: with all texts, or with none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Prefetch

from pipeline.models import LLMCall, PipelineRun, StepRun
from pipeline.models.runs import StepStatus

TEXTS_OF_A_CALL = ("system_prompt", "user_message", "output")
TEXTS_OF_A_STEP = ("inputs", "output", "reply")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Cost, tokens and calls of one or more steps; the cost is None if not reported."""

    cost_usd: Decimal | None
    input_tokens: int
    output_tokens: int
    calls: int


def steps_of(run: PipelineRun, *, with_texts: bool) -> list[StepRun]:
    """Return a run's steps and calls in two queries; without texts, errors show only their kind."""
    calls = LLMCall.objects.order_by("started_at", "pk")
    steps = StepRun.objects.filter(run=run).order_by("position", "attempt")
    if with_texts:
        calls = calls.select_related(*TEXTS_OF_A_CALL)
        steps = steps.select_related(*TEXTS_OF_A_STEP)
    found = list(steps.prefetch_related(Prefetch("calls", calls)))
    if not with_texts:
        for step in found:
            _take_quotes_out(step)
    return found


def totals_of(steps: Sequence[StepRun]) -> Totals:
    """Return the sums over all calls of these steps, failed ones included."""
    calls = [call for step in steps for call in step.calls.all()]
    costs = [call.cost_usd for call in calls if call.cost_usd is not None]
    return Totals(
        cost_usd=sum(costs, Decimal(0)) if costs else None,
        input_tokens=sum(call.input_tokens or 0 for call in calls),
        output_tokens=sum(call.output_tokens or 0 for call in calls),
        calls=len(calls),
    )


def are_over(steps: Sequence[StepRun]) -> bool:
    """Tell whether all of these steps have ended."""
    return all(step.status not in {StepStatus.WAITING, StepStatus.RUNNING} for step in steps)


def _take_quotes_out(step: StepRun) -> None:
    rows: list[Any] = [step, *step.calls.all()]
    for row in rows:
        row.error = row.error_kind
