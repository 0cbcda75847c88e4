"""Estimates what a change of model would cost at last week's traffic, and whom it affects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Exists, OuterRef

from agents.catalog import estimated_cost_usd, find
from agents.llm.base import Payer
from pipeline.models import Member, PipelineRun
from pipeline.operations import usage
from pipeline.running.config import load_pipeline, pipeline_names

DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An agent's cost per day: last week's, and the same traffic's on another model."""

    calls_a_day: Decimal
    shared_usd: Decimal  # per day, last week
    member_usd: Decimal
    then_usd: Decimal | None  # per day, if the shared key paid for all; None: no known price
    members: int

    @property
    def difference_usd(self) -> Decimal | None:
        """The extra dollars per day for the shared key, negative if fewer; None if unknown."""
        return None if self.then_usd is None else self.then_usd - self.shared_usd


def change(agent_name: str, model_id: str, *, now: datetime) -> Change | None:
    """Return the effect of moving an agent to a model; None if the catalog lacks the model."""
    model = find(model_id)
    if model is None:
        return None
    since = now - timedelta(days=DAYS)
    totals, member_usd, shared_usd = usage.UsageTotals(), Decimal(0), Decimal(0)
    for key, part in usage.rollups(since, now=now):
        if key.agent == agent_name:
            totals.add(part)
            if key.payer == Payer.SHARED:
                shared_usd += part.cost_usd - part.other_cost_usd
            else:
                member_usd += part.cost_usd - part.other_cost_usd
    answered = totals.calls - totals.failed_calls
    # Prices per token may rise with the prompt's length, so price the average call, not the sum.
    read = totals.input_tokens - totals.other_input_tokens
    written = totals.output_tokens - totals.other_output_tokens
    each = (
        estimated_cost_usd(model, read // answered, written // answered) if answered else Decimal(0)
    )
    return Change(
        calls_a_day=Decimal(answered) / DAYS,
        shared_usd=shared_usd / DAYS,
        member_usd=member_usd / DAYS,
        then_usd=None if each is None else each * answered / DAYS,
        members=_members(agent_name, since),
    )


def _members(agent_name: str, since: datetime) -> int:
    """Return how many members had a run since then of a pipeline that contains the agent."""
    pipelines = [
        name
        for name in pipeline_names()
        if any(step.agent == agent_name for step in load_pipeline(name).steps)
    ]
    runs = PipelineRun.objects.filter(
        member=OuterRef("pk"), pipeline__in=pipelines, started_at__gte=since
    )
    return Member.objects.filter(Exists(runs)).count()
