"""What each budget has spent and set aside in its current interval, for `manage.py budgets`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from agents.display import dollars as in_words
from pipeline.budgets.intervals import starts_again
from pipeline.budgets.money import dollars
from pipeline.budgets.queries import current, owners
from pipeline.models import Budget, BudgetPeriod


def lines(now: datetime) -> Iterator[str]:
    """Yield a line for each budget's current interval, and for each member's or operator's."""
    periods, names = _periods(now)
    for period in periods:
        owner = f" for {names[period.pk]}" if period.pk in names else ""
        yield f"{period.budget}{owner}: {_words(period)}"
    for budget in _unused(periods):
        yield f"{budget}: nothing spent yet"


def objects(now: datetime) -> list[dict[str, Any]]:
    """Return the same as JSON objects; amounts are dollars as text, exact to the last digit."""
    periods, names = _periods(now)
    used = [_facts(period, names.get(period.pk, "")) for period in periods]
    unused = _unused(periods)
    return used + [{"budget": str(one), "cap_usd": str(one.cap_usd)} for one in unused]


def _periods(now: datetime) -> tuple[list[BudgetPeriod], dict[int, str]]:
    periods = list(current(now).order_by("budget_id", "-spent_picousd", "pk"))
    return periods, owners(periods)


def _unused(periods: list[BudgetPeriod]) -> list[Budget]:
    used = {period.budget_id for period in periods}
    return list(Budget.objects.exclude(pk__in=used).select_related("member"))


def _facts(period: BudgetPeriod, owner: str) -> dict[str, Any]:
    return {
        "budget": str(period.budget),
        "for": owner,
        "starts_at": period.starts_at.isoformat(),
        "ends_at": period.ends_at and period.ends_at.isoformat(),
        "cap_usd": str(dollars(period.cap_picousd)),
        "spent_usd": str(dollars(period.spent_picousd)),
        "set_aside_usd": str(dollars(period.reserved_picousd)),
        "unknown_usd": str(dollars(period.unknown_picousd)),
        "over_usd": str(dollars(period.over_picousd)),
        "refused": period.refusals,
    }


def _words(period: BudgetPeriod) -> str:
    spent, cap = in_words(dollars(period.spent_picousd)), in_words(dollars(period.cap_picousd))
    words = f"{spent} of {cap} spent"
    for amount, what in (
        (period.reserved_picousd, "set aside"),
        (period.unknown_picousd, "at most for calls of unknown cost"),
        (period.over_picousd, "over the cap"),
    ):
        if amount:
            words += f", {in_words(dollars(amount))} {what}"
    refused = f"; {period.refusals} refused" if period.refusals else ""
    return f"{words}{refused}. {starts_again(period.ends_at)}".strip()
