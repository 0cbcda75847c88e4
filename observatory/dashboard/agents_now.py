"""The first page's table of agents: each one's override, and its usage in the last 24 hours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings

from agents.base import BaseAgent
from agents.llm.base import Payer
from agents.registry import default_registry
from agents.snapshot import Override, Snapshot
from pipeline.operations import usage
from pipeline.operations.aggregates import percentile_ms

HOURS = 24  # the current one and the 23 before it
NO_USAGE = usage.UsageTotals()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentNow:
    """One row of the table: an agent, its override and its usage, or the totals."""

    name: str
    purpose: str
    override: Override | None
    is_in_force: bool  # False without a shared key: overrides are then inactive
    totals: usage.UsageTotals
    shared_usd: Decimal
    member_usd: Decimal

    @property
    def p50_ms(self) -> int | None:
        return percentile_ms(self.totals.step_times, 0.5)

    @property
    def p95_ms(self) -> int | None:
        return percentile_ms(self.totals.step_times, 0.95)


def since(now: datetime) -> datetime:
    """Return the start of the last 24 hours, on the hour so that sums can be checked by hand."""
    return now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS - 1)


def agents_now(snapshot: Snapshot, *, now: datetime) -> list[AgentNow]:
    """Return rows of registered agents, in order, then of others that ran or have an override."""
    by_agent: defaultdict[str, usage.UsageTotals] = defaultdict(usage.UsageTotals)
    dollars: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for key, totals in usage.rollups(since(now), now=now):
        by_agent[key.agent].add(totals)
        dollars[key.agent, key.payer] += totals.cost_usd
    registry = default_registry()
    gone = sorted({*by_agent, *snapshot.overrides} - set(registry.names()))
    return [
        AgentNow(
            name=name,
            purpose=_purpose(registry.get(name) if name in registry else None),
            override=snapshot.overrides.get(name),
            is_in_force=bool(settings.OPENROUTER_API_KEY),
            totals=by_agent.get(name, NO_USAGE),
            shared_usd=dollars[name, Payer.SHARED.value],
            member_usd=dollars[name, Payer.MEMBER.value],
        )
        for name in (*registry.names(), *gone)
    ]


def sum_of(rows: Iterable[AgentNow]) -> AgentNow:
    """Return the totals row."""
    sum_of_all, shared_usd, member_usd = usage.UsageTotals(), Decimal(0), Decimal(0)
    for row in rows:
        sum_of_all.add(row.totals)
        shared_usd += row.shared_usd
        member_usd += row.member_usd
    return AgentNow(
        name="",
        purpose="",
        override=None,
        is_in_force=False,
        totals=sum_of_all,
        shared_usd=shared_usd,
        member_usd=member_usd,
    )


def _purpose(agent: BaseAgent | None) -> str:
    return agent.purpose if agent else "No longer an agent of this installation."
