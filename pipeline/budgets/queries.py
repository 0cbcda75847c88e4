"""What pages, alerts and members are told about budgets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Q, QuerySet

from agents.display import dollars as in_words
from pipeline.budgets.intervals import begins_anew, starts_at
from pipeline.budgets.money import dollars
from pipeline.models import Budget, BudgetPeriod, Member
from pipeline.models.budgets import Interval, Scope

MAX_TOLD = 20  # periods that alerts name


def current(now: datetime) -> QuerySet[BudgetPeriod]:
    """Return the periods that contain `now`, of all budgets that were used in it."""
    of_now = Q()
    for interval in Interval:
        of_now |= Q(budget__interval=interval, starts_at=starts_at(interval, now))
    return BudgetPeriod.objects.filter(of_now).select_related("budget__member")


def used_up_for(member_id: int, now: datetime) -> BudgetPeriod | None:
    """Return the period of a member's own budgets that has nothing left, or None."""
    own = Budget.objects.filter(scope=Scope.MEMBER, member=member_id)
    periods = current(now).filter(spent_picousd__gte=F("cap_picousd"))
    of_member = Q(budget__in=own) | Q(budget__scope=Scope.EACH_MEMBER, key=str(member_id)) & ~Q(
        budget__interval__in=own.values("interval")
    )
    return periods.filter(of_member).order_by("-ends_at").first()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A period that operators must know of, and why."""

    period: BudgetPeriod
    kind: str  # "exceeded", "used up", "too small" or "nearly used up"
    sentence: str


def in_need(now: datetime) -> list[Standing]:
    """Return the current periods that are nearly used up, used up or exceeded."""
    nearly_used_up = Q(spent_picousd__gte=F("cap_picousd") / 5 * 4)
    found = list(
        current(now).filter(Q(refusals__gt=0) | nearly_used_up).order_by("budget", "key")[:MAX_TOLD]
    )
    names = owners(found)
    return [_standing(period, names.get(period.pk, "")) for period in found]


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


def _standing(period: BudgetPeriod, owner: str) -> Standing:
    spent, cap = period.spent_picousd, period.cap_picousd
    if spent > cap:
        kind, said = "exceeded", "has been exceeded"
    elif spent == cap or (period.refusals and 5 * spent >= 4 * cap):
        kind, said = "used up", "is used up"
    elif period.refusals:
        kind, said = "too small", "has no room for some requests"
    else:
        kind, said = "nearly used up", "is nearly used up"
    whose = f" for {owner}" if owner else ""
    refused = ""
    if period.refusals:
        many = "request was" if period.refusals == 1 else "requests were"
        refused = f" {period.refusals} {many} refused."
    return Standing(
        period=period,
        kind=kind,
        sentence=f"The budget “{period.budget}” {said}{whose}: "
        f"{in_words(dollars(period.spent_picousd))} spent.{refused} {begins_anew(period.ends_at)}",
    )
