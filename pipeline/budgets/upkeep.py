"""Correct what calls do not keep right themselves.

A changed cap holds at once. A new budget counts what was spent in its interval before it was made.
Calls of processes of an older release, which has no budgets, are counted as well. The amount that
was set aside for a call that never ended, such as one of a process that was killed, becomes unknown
and is booked a day after the call, unless its cost is found before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from django.db import connections, transaction
from django.db.models import (
    BigIntegerField,
    Case,
    Exists,
    F,
    OuterRef,
    Q,
    QuerySet,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Greatest

from agents.llm.base import Payer
from pipeline.budgets import ledger, rows
from pipeline.budgets.intervals import starts_at
from pipeline.budgets.money import picodollars
from pipeline.budgets.queries import current
from pipeline.models import Budget, BudgetPeriod, LLMCall, Reservation
from pipeline.models.budgets import OPEN_STATES, Interval, ReservationState, Scope
from pipeline.models.runs import CallStatus, StepStatus
from pipeline.models.sources import sources_where

BOOKED = ReservationState.BOOKED.value
AT_ONCE = 500  # calls in one transaction
SOUGHT_FOR = timedelta(hours=24)  # after that, an unknown cost is booked at the most it can be
LONGEST_CALL = timedelta(hours=2)  # until a call's cost is on record, usually
CHECKED_AFTER = timedelta(seconds=20)  # the end of a call settles it within seconds, usually


# --- new and changed budgets ---------------------------------------------------------------------


@transaction.atomic
def apply_cap(budget_id: int, now: datetime) -> None:
    """Give a budget's current periods its cap; by how much they exceed a lower cap is noted.

    The budget is read under lock, so that what another process has just saved is not undone. A
    period whose cap rises starts to count refusals anew.
    """
    # Without the models' order, which joins tables that are not to be locked.
    rows_of_budget = Budget.objects.filter(pk=budget_id).order_by("pk")
    budget = rows_of_budget.select_for_update(no_key=True).first()
    if budget is None:
        return
    cap = picodollars(budget.cap_usd)
    total = F("reserved_picousd") + F("unknown_picousd") + F("spent_picousd")
    BudgetPeriod.objects.filter(budget=budget, starts_at=starts_at(budget.interval, now)).exclude(
        cap_picousd=cap
    ).update(
        cap_picousd=cap,
        over_picousd=Greatest(total - cap, Value(0), output_field=_WHOLE),
        refusals=Case(
            When(cap_picousd__lt=cap, then=Value(0)), default=F("refusals"), output_field=_WHOLE
        ),
    )


_WHOLE: BigIntegerField[int, int] = BigIntegerField()


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that has ended, as far as a budget is concerned."""

    id: UUID
    cost_usd: Decimal
    started_at: datetime
    member_id: int | None
    operator: str


_COLUMNS = ("pk", "cost_usd", "started_at", "step__run__member", "step__run__started_by")


def count_uncounted(budget: Budget, now: datetime, since: datetime | None = None) -> int:
    """Book calls that have a cost and no reservation in this budget; return how many, at most 500.

    Args:
        budget: For which they are missing.
        now: By the database's clock.
        since: When it was last counted; None: never, so it is counted from its interval's start.
    """
    if budget.interval == Interval.ONCE:
        first = budget.created_at
    else:
        first = starts_at(budget.interval, min(budget.created_at, now))
    if since is None:
        since = starts_at(budget.interval, now)
    calls = _calls_of(budget).filter(
        started_at__gte=max(first, since - LONGEST_CALL), cost_usd__isnull=False
    )
    reserved = Reservation.objects.filter(call_id=OuterRef("pk"), period__budget=budget)
    found = calls.exclude(Exists(reserved)).order_by("started_at").values_list(*_COLUMNS)
    uncounted = [_Call(*row) for row in found[:AT_ONCE]]
    return _book(budget, uncounted, now) if uncounted else 0


@transaction.atomic
def _book(budget: Budget, calls: list[_Call], now: datetime) -> int:
    database = connections["default"]
    keys = {
        call.id: (budget.pk, _key_of(budget, call), starts_at(budget.interval, call.started_at))
        for call in calls
    }
    ledger.create(set(keys.values()))
    periods = ledger.locked(database, [], set(keys.values()))
    by_key = {period.key: period for period in periods.values()}
    found = set(  # another process may have counted them meanwhile
        Reservation.objects.filter(call_id__in=keys, period__in=periods).values_list(
            "call_id", flat=True
        )
    )
    booked = []
    for call in calls:
        period, cost = by_key.get(keys[call.id]), picodollars(call.cost_usd)
        if call.id in found or period is None:  # its budget has just been deleted
            continue
        period.spent += cost
        booked.append(
            rows.NewReservation(call.id, period.id, cost, state=ReservationState.BOOKED.value)
        )
    rows.insert_reservations(database, booked, now)
    rows.write(database, periods.values(), now)
    return len(booked)


def _key_of(budget: Budget, call: _Call) -> str:
    if budget.scope == Scope.EACH_MEMBER:
        return str(call.member_id)
    return call.operator if budget.scope == Scope.TRIALS else ""


def _calls_of(budget: Budget) -> QuerySet[LLMCall]:
    """Return the calls that count for a budget, as the ledger has it."""
    calls = LLMCall.objects.filter(payer=Payer.SHARED)
    of_members = calls.filter(step__run__source__in=sources_where("counts_for_limits"))
    match budget.scope:
        case Scope.AGENT:
            return calls.filter(step__agent=budget.name)
        case Scope.MODEL:
            return calls.filter(requested_model=budget.name)
        case Scope.MEMBER:
            return of_members.filter(step__run__member=budget.member_id)
        case Scope.EACH_MEMBER:
            own = Budget.objects.filter(scope=Scope.MEMBER, interval=budget.interval)
            return of_members.exclude(step__run__member=None).exclude(
                step__run__member__in=own.values("member")
            )
        case Scope.TRIALS:
            return calls.filter(step__run__source__in=sources_where("counts_for_trials"))
    return calls


# --- calls that never ended ----------------------------------------------------------------------


def settle_abandoned(now: datetime, *, longest_step: timedelta) -> int:
    """Settle what is still set aside for calls that are over; return how many calls.

    A call is over if its row or its step says so, or if it has lasted longer than a step may: then
    its process was killed. A call whose row was deleted is over, too.
    """
    held = _open(ReservationState.HELD, created_at__lt=now - CHECKED_AFTER)
    calls = LLMCall.objects.filter(pk__in=held)
    lasting = calls.filter(
        status=CallStatus.RUNNING,
        step__status=StepStatus.RUNNING,
        started_at__gte=now - longest_step - CHECKED_AFTER,
    )
    known = {call.pk: call for call in calls.only("pk", "status", "cost_usd")}
    over = set(held).difference(lasting.values_list("pk", flat=True))
    # A process of an older release does not settle what it learns late.
    unknown = _open(ReservationState.UNKNOWN)
    late = LLMCall.objects.filter(pk__in=unknown, cost_usd__isnull=False)
    known |= {call.pk: call for call in late.only("pk", "status", "cost_usd")}
    over |= {call.pk for call in late}
    with transaction.atomic(), ledger.gathering():
        for call_id in over:
            call = known.get(call_id)
            if call is not None and call.cost_usd is not None:
                ledger.settle(call_id, ReservationState.BOOKED, call.cost_usd)
            elif call is not None and call.status == CallStatus.ERROR:
                ledger.settle(call_id, ReservationState.RELEASED)
            else:
                ledger.settle(call_id, ReservationState.UNKNOWN)
    return len(over)


def _open(state: ReservationState, **conditions: Any) -> list[UUID]:
    """Return the calls with reservations in this state, the oldest first."""
    rows = Reservation.objects.filter(state=state, **conditions).order_by("created_at")
    return list(dict.fromkeys(rows.values_list("call_id", flat=True)[:AT_ONCE]))


def book_unknown(now: datetime) -> int:
    """Book what has been unknown for a day at what is set aside for it; return how many calls."""
    old = _open(ReservationState.UNKNOWN, created_at__lt=now - SOUGHT_FOR)
    with transaction.atomic(), ledger.gathering():
        for call_id in old:
            ledger.settle(call_id, ReservationState.BOOKED_AT_MOST)
    return len(old)


def sought(now: datetime) -> list[LLMCall]:
    """Return the calls with an unknown cost that the provider may know by their id."""
    unknown = Reservation.objects.filter(
        state=ReservationState.UNKNOWN, created_at__gte=now - SOUGHT_FOR
    )
    calls = LLMCall.objects.filter(pk__in=unknown.values("call_id"), cost_usd=None)
    return list(calls.exclude(generation_id="").select_related("step").order_by("started_at"))


# --- erasure -------------------------------------------------------------------------------------


@transaction.atomic
def forget_calls(member_id: int, now: datetime) -> None:
    """Keep the sums of a member's current periods without reference to a call; delete earlier ones.

    What is still unknown is booked as it counts now, since no later answer could be matched.
    """
    of_member = Q(budget__scope=Scope.EACH_MEMBER, key=str(member_id))
    of_member |= Q(budget__scope=Scope.MEMBER, budget__member=member_id)
    periods = BudgetPeriod.objects.filter(of_member)
    lock(periods)
    periods.filter(ends_at__lte=now).delete()
    for period in periods:
        Reservation.objects.filter(period=period).delete()
        total = period.reserved_picousd + period.unknown_picousd + period.spent_picousd
        Reservation.objects.create(
            call_id=uuid4(),
            period=period,
            picousd=total,
            state=ReservationState.BOOKED,
            created_at=period.starts_at,
        )
        period.reserved_picousd, period.unknown_picousd, period.spent_picousd = 0, 0, total
        period.save(update_fields=["reserved_picousd", "unknown_picousd", "spent_picousd"])


def lock(periods: QuerySet[BudgetPeriod]) -> None:
    """Lock the open reservations of periods and then the periods, in the ledger's order."""
    held = Reservation.objects.filter(period__in=periods, state__in=OPEN_STATES).order_by("pk")
    list(held.select_for_update(no_key=True, of=("self",)).values_list("pk"))
    list(periods.order_by("pk").select_for_update(of=("self",)).values_list("pk"))


# --- the sums ------------------------------------------------------------------------------------


def audited(now: datetime) -> list[int]:
    """Return the ids of the periods that `audit` should look at: the current ones."""
    return list(current(now).values_list("pk", flat=True))


def audit(period_id: int) -> str:
    """Compare the sums of a period with its reservations, and correct them if they differ.

    Returns:
        What was wrong, as a sentence; "" if nothing was.
    """
    period = BudgetPeriod.objects.filter(pk=period_id).first()
    if period is None or _sums(period) == _by_rows(period_id):
        return ""
    with transaction.atomic():  # again under lock: a call may have changed them between the queries
        rows_of_period = BudgetPeriod.objects.filter(pk=period_id).order_by("pk")
        period = rows_of_period.select_for_update(no_key=True).first()
        if period is None:
            return ""
        were, are = _sums(period), _by_rows(period_id)
        if were == are:
            return ""
        period.reserved_picousd, period.unknown_picousd, period.spent_picousd = are
        period.over_picousd = max(0, sum(are) - period.cap_picousd)
        period.save(
            update_fields=["reserved_picousd", "unknown_picousd", "spent_picousd", "over_picousd"]
        )
    return f"{period}: reserved, unknown and spent picodollars were {were} and are {are}"


def _sums(period: BudgetPeriod) -> tuple[int, int, int]:
    return period.reserved_picousd, period.unknown_picousd, period.spent_picousd


def _by_rows(period_id: int) -> tuple[int, int, int]:
    sums = dict(
        Reservation.objects.filter(period=period_id)
        .values_list("state")
        .annotate(sum=Sum("picousd"))
    )
    held, unknown = (sums.pop(state, 0) for state in OPEN_STATES)
    return int(held), int(unknown), int(sum(sums.values()))
