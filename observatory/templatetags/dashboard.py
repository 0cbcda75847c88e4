"""Template filters of the admin's first page for times, dollars and sums."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal

from django import template

from agents.display import NOT_REPORTED, dollars, money
from observatory.dashboard.agents_now import AgentNow, sum_of

register = template.Library()


@register.filter
def seconds(ms: int | None) -> str:
    """Return milliseconds as seconds, with two decimals below 1 s, else one; a dash for None."""
    if ms is None:
        return "\N{EN DASH}"
    return f"{ms / 1000:.2f} s" if ms < 1000 else f"{ms / 1000:.1f} s"


@register.filter
def duration(length: timedelta) -> str:
    """Return a duration as text, such as "42 s", "3 min", "2 h 5 min" or "3 d 4 h"."""
    seconds = int(length.total_seconds())
    if seconds < 1:
        return "under 1 s"
    if seconds < 120:
        return f"{seconds} s"
    minutes, hours = seconds // 60, seconds // 3600
    if hours < 1:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


@register.filter
def cost(amount: Decimal) -> str:
    """Return an amount in dollars as HTML; a dash for zero."""
    return money(amount) if amount else NOT_REPORTED


@register.filter
def signed_dollars(amount: Decimal) -> str:
    """Return a difference in dollars with its sign; "±$0" for none."""
    if not amount:
        return "±$0"
    return f"{'-' if amount < 0 else '+'}{dollars(abs(amount))}"


@register.filter
def totals(rows: Iterable[AgentNow]) -> AgentNow:
    """Return the totals row of the rows."""
    return sum_of(rows)
