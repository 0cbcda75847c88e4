"""How the first page writes times, dollars and sums."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from django import template

from observatory.dashboard.agents_now import AgentNow, sum_of

register = template.Library()


@register.filter
def seconds(ms: int | None) -> str:
    """Return a time in seconds, to two figures where that tells more."""
    if ms is None:
        return "\N{EN DASH}"
    return f"{ms / 1000:.2f} s" if ms < 1000 else f"{ms / 1000:.1f} s"


@register.filter
def dollars(amount: Decimal) -> str:
    """Return dollars so that a fraction of a cent is still seen."""
    if not amount:
        return "\N{EN DASH}"
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.4f}"


@register.filter
def signed_dollars(amount: Decimal) -> str:
    """Return a difference in dollars with its sign."""
    return f"{'-' if amount < 0 else '+'}{dollars(abs(amount)) if amount else '$0'}"


@register.filter
def totals(rows: Iterable[AgentNow]) -> AgentNow:
    """Return the sum of rows."""
    return sum_of(rows)
