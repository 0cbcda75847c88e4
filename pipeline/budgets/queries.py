"""What pages, alerts and members are told about budgets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Case, F, Q, QuerySet, Value, When

from agents.display import dollars as in_words
from pipeline.budgets.intervals import starts_again, starts_at
from pipeline.budgets.money import dollars
from pipeline.models import Budget, BudgetPeriod, Member
from pipeline.models.budgets import Interval, Scope

MAX_NAMED = 3  # members or operators that an alert names
MAX_COUNTED = 1000
NEARLY = (4, 5)  # the share of the cap from which a budget is nearly used up
TOLD_EVERY = timedelta(days=1)  # to a member


def current(now: datetime) -> QuerySet[BudgetPeriod]:
    """Return the periods that contain `now`, of all budgets that were used in it."""
    of_now = Q()
    for interval in Interval:
        of_now |= Q(budget__interval=interval, starts_at=starts_at(interval, now))
    return BudgetPeriod.objects.filter(of_now).select_related("budget__member")


def used_up_for(member_id: int, now: datetime) -> BudgetPeriod | None:
    """Return the period of a member's own budgets that has nothing left, or None."""
    periods = of_member(member_id, now)
    full = [period for period in periods if _counted(period) >= period.cap_picousd]
    return full[-1] if full else None


def newly_nearly_used_up(member_id: int, now: datetime) -> BudgetPeriod | None:
    """Return the period of a member's own budgets that is nearly used up; None if none is.

    Each period is returned once a day, so that its member is told so.
    """
    for period in of_member(member_id, now):
        if NEARLY[1] * _counted(period) < NEARLY[0] * period.cap_picousd:
            continue
        untold = Q(member_told_at=None) | Q(member_told_at__lte=now - TOLD_EVERY)
        if BudgetPeriod.objects.filter(untold, pk=period.pk).update(member_told_at=now):
            return period
    return None


def of_member(member_id: int, now: datetime) -> list[BudgetPeriod]:
    """Return the current periods of a member's own budgets, the one that ends first first."""
    own = Budget.objects.filter(scope=Scope.MEMBER, member=member_id)
    periods = current(now).filter(
        Q(budget__in=own)
        | Q(budget__scope=Scope.EACH_MEMBER, key=str(member_id))
        & ~Q(budget__interval__in=own.values("interval"))
    )
    return list(periods.order_by(F("ends_at").asc(nulls_last=True), "pk"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A budget that operators must know of, and why."""

    key: str  # the same as long as there is no other news of it
    sentence: str


def in_need(now: datetime) -> list[Standing]:
    """Return the budgets that are nearly used up, used up or exceeded, the team's first.

    Of a budget for each member or operator, the first are named and the others counted.
    """
    counted = F("spent_picousd") + F("unknown_picousd")
    nearly_used_up = Q(counted__gte=F("cap_picousd") / NEARLY[1] * NEARLY[0])
    told = current(now).annotate(counted=counted).filter(Q(refusals__gt=0) | nearly_used_up)
    is_of_each = Case(When(key="", then=Value(0)), default=Value(1))  # the team's have no key
    periods = list(told.order_by(is_of_each, "pk")[:MAX_COUNTED])
    found = [
        Standing(
            key=f"{period.pk} {_kind(period)}",
            sentence=f"The budget “{period.budget}” {_kind(period)}: {_sums(period)}",
        )
        for period in periods
        if not period.key
    ]
    by_budget: dict[int, list[BudgetPeriod]] = {}
    for period in periods:
        if period.key:
            by_budget.setdefault(period.budget_id, []).append(period)
    return found + [_of_each(periods) for periods in by_budget.values()]


def _of_each(periods: list[BudgetPeriod]) -> Standing:
    first = periods[0]
    if len(periods) == 1:
        owner = owners(periods)[first.pk]
        sentence = f"The budget “{first.budget}” {_kind(first)} for {owner}: {_sums(first)}"
        return Standing(key=f"{first.pk} {_kind(first)}", sentence=sentence)
    names = ", ".join(owners(periods[:MAX_NAMED]).values())
    more = len(periods) - MAX_NAMED
    others = f" and {more} others" if more > 0 else ""
    return Standing(
        key=f"each {first.budget_id} from {first.starts_at:%Y-%m-%d}",
        sentence=f"The budget “{first.budget}” is used up, or nearly, for {names}{others}. "
        f"{starts_again(first.ends_at)}",
    )


def owners(periods: Iterable[BudgetPeriod]) -> dict[int, str]:
    """Return, by period, the member or operator whose period of a budget for each it is."""
    of_each = [period for period in periods if period.key]
    members = {period.key for period in of_each if period.budget.scope == Scope.EACH_MEMBER}
    rows = Member.objects.filter(pk__in=members) if members else []
    names = {str(row.pk): str(row) for row in rows}
    return {
        period.pk: names.get(period.key, "an erased member")
        if period.budget.scope == Scope.EACH_MEMBER
        else period.key
        for period in of_each
    }


def _counted(period: BudgetPeriod) -> int:
    """Return what no later call can have: what is spent, and what may have been."""
    return period.spent_picousd + period.unknown_picousd


def _kind(period: BudgetPeriod) -> str:
    spent, cap = _counted(period), period.cap_picousd
    if period.spent_picousd > cap:
        return "has been exceeded"
    if spent >= cap or (period.refusals and NEARLY[1] * spent >= NEARLY[0] * cap):
        return "is used up"
    return "is too small for some requests" if period.refusals else "is nearly used up"


def _sums(period: BudgetPeriod) -> str:
    told = f"{in_words(dollars(period.spent_picousd))} spent"
    if period.unknown_picousd:
        unknown = in_words(dollars(period.unknown_picousd))
        told += f", and up to {unknown} for calls whose cost is not known yet"
    refused = ""
    if period.refusals:
        many = "request was" if period.refusals == 1 else "requests were"
        refused = f" {period.refusals} {many} refused."
    return f"{told}.{refused} {starts_again(period.ends_at)}"
