"""Estimates what a change of model would cost at last week's calls, and whom it affects."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db.models import Exists, OuterRef

from agents.catalog import estimated_cost_usd, find
from agents.llm.base import Payer
from agents.models import CatalogModel
from agents.snapshot import Override, read_snapshot
from pipeline.models import Member, PipelineRun, StepRun
from pipeline.models.runs import Source
from pipeline.operations import usage
from pipeline.running.config import load_pipeline, pipeline_names

DAYS = 7
TRIED_WITHIN, TRIALS_SEARCHED = timedelta(days=30), 200
MIN_CALLS = 20  # in a week; fewer say too little about the next one


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The team key's cost per day of an agent's calls: on today's model, and on another one."""

    live_model: str
    override: Override | None  # that sets the live model; None: the default model
    calls: int  # of the last seven days, answered
    live_usd: Decimal = Decimal(0)  # per day
    then_usd: Decimal | None = None  # per day; None: the catalog has no price for the model
    # The difference on single days, the least and the most of those with calls.
    least_usd: Decimal = Decimal(0)
    most_usd: Decimal = Decimal(0)
    member_usd: Decimal = Decimal(0)  # per day, what members paid for these calls
    members: int = 0
    last_trial: StepRun | None = None  # of the model for this agent

    @property
    def is_enough(self) -> bool:
        """Whether there were enough calls to estimate from."""
        return self.calls >= MIN_CALLS

    @property
    def calls_a_day(self) -> int:
        return round(self.calls / DAYS)

    @property
    def difference_usd(self) -> Decimal | None:
        """The extra dollars per day for the shared key, negative if fewer; None if unknown."""
        return None if self.then_usd is None else self.then_usd - self.live_usd

    @property
    def is_steady(self) -> bool:
        """Whether the difference was the same on every day."""
        return self.least_usd == self.most_usd


@dataclass(slots=True)
class _Calls:
    """Answered calls, and their tokens."""

    count: int = 0
    read: int = 0
    written: int = 0

    def add(self, totals: usage.UsageTotals) -> None:
        self.count += totals.calls - totals.failed_calls
        self.read += totals.input_tokens - totals.other_input_tokens
        self.written += totals.output_tokens - totals.other_output_tokens

    def cost_usd(self, model: CatalogModel) -> Decimal | None:
        """Return what these calls would cost on a model; None if its price is not known.

        Prices per token may rise with the prompt's length, so the average call is priced.
        """
        if not self.count:
            return Decimal(0)
        each = estimated_cost_usd(model, self.read // self.count, self.written // self.count)
        return None if each is None else each * self.count


@dataclass(slots=True)
class _Day:
    """The calls within 24 hours: all, and those that the team key pays for on today's model."""

    all: _Calls = field(default_factory=_Calls)
    live: _Calls = field(default_factory=_Calls)
    shared_usd: Decimal = Decimal(0)  # what the team key did pay

    def live_usd(self, model: CatalogModel | None) -> Decimal:
        """Return the team key's cost on today's model; if it has no price, what was paid."""
        cost = self.live.cost_usd(model) if model is not None else None
        return self.shared_usd if cost is None else cost


def change(agent_name: str, model_id: str, *, now: datetime) -> Change | None:
    """Return the effect of moving an agent to a model; None if the catalog lacks the model.

    Both models are priced at the same calls, those of the last seven days. With an override, the
    team key pays for all of them; without one, for those of members without a key. If the catalog
    has no price for the current model, what the team key paid counts instead.
    """
    model = find(model_id)
    if model is None:
        return None
    override = read_snapshot().overrides.get(agent_name)
    live_model = override.model_id if override is not None else settings.DEFAULT_MODEL
    since = now - timedelta(days=DAYS)
    days: defaultdict[int, _Day] = defaultdict(_Day)
    member_usd = Decimal(0)
    for key, part in usage.rollups(since, now=now):
        if key.agent != agent_name or key.starts_at < since:  # the hour of `since` is not whole
            continue
        day = days[(now - key.starts_at) // timedelta(days=1)]
        day.all.add(part)
        if key.payer == Payer.SHARED:
            day.shared_usd += part.cost_usd - part.other_cost_usd
        else:
            member_usd += part.cost_usd - part.other_cost_usd
        if override is not None or key.payer == Payer.SHARED:
            day.live.add(part)
    found = Change(
        live_model=live_model,
        override=override,
        calls=sum(day.all.count for day in days.values()),
        member_usd=member_usd / DAYS,
        members=_members(agent_name, since),
        last_trial=_last_trial(agent_name, model_id, now - TRIED_WITHIN),
    )
    return _priced(found, [day for day in days.values() if day.all.count], model)


def _priced(found: Change, days: list[_Day], model: CatalogModel) -> Change:
    """Return the change with its costs per day; without them, if the model has no price."""
    live = find(found.live_model)
    live_usd = [day.live_usd(live) for day in days]
    then_usd = [cost for day in days if (cost := day.all.cost_usd(model)) is not None]
    found = replace(found, live_usd=sum(live_usd, Decimal(0)) / DAYS)
    if len(then_usd) < len(days):
        return found
    differences = [then - now for now, then in zip(live_usd, then_usd, strict=True)]
    return replace(
        found,
        then_usd=sum(then_usd, Decimal(0)) / DAYS,
        least_usd=min(differences, default=Decimal(0)),
        most_usd=max(differences, default=Decimal(0)),
    )


def _last_trial(agent_name: str, model_id: str, since: datetime) -> StepRun | None:
    # By way of the runs, of which few are trials: most steps on this model are none.
    trials = PipelineRun.objects.filter(source=Source.TRIAL, started_at__gte=since)
    latest = list(trials.order_by("-started_at").values_list("pk", flat=True)[:TRIALS_SEARCHED])
    steps = StepRun.objects.filter(run__in=latest, agent=agent_name, requested_model=model_id)
    steps = steps.exclude(ended_at=None)
    return steps.order_by("-started_at").first()


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
