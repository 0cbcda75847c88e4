"""Keep budgets right where no call does it.

A changed cap holds at once. A new budget counts what was spent in its interval before it was made;
so are calls counted of processes whose release knows no budgets. What was set aside for a call that
never ended, such as one of a process that was killed, becomes unknown, and is booked a day later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import connections, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Sum

from agents.llm.base import Payer
from pipeline.budgets import ledger, rows
from pipeline.budgets.intervals import ends_at, starts_at
from pipeline.budgets.money import picodollars
from pipeline.models import Budget, BudgetPeriod, LLMCall, Reservation
from pipeline.models.budgets import OPEN_STATES, Interval, ReservationState, Scope
from pipeline.models.runs import CallStatus, StepStatus
from pipeline.models.sources import sources_where

BOOKED = ReservationState.BOOKED.value
AT_ONCE = 500  # calls in one transaction
SOUGHT_FOR = timedelta(hours=24)  # after that, an unknown cost is booked at the most it can be
CHECKED_AFTER = timedelta(seconds=20)  # the end of a call settles it within seconds, usually


# --- new and changed budgets ---------------------------------------------------------------------


@transaction.atomic
def apply_cap(budget: Budget, now: datetime) -> None:
    """Give a budget's current periods its cap; by how much they exceed a lower cap is noted."""
    cap = picodollars(budget.cap_usd)
    current = BudgetPeriod.objects.filter(
        budget=budget, starts_at=starts_at(budget.interval, now)
    ).order_by("pk")
    for period in current.select_for_update(no_key=True):
        period.cap_picousd = cap
        period.over_picousd = max(0, period.reserved_picousd + period.spent_picousd - cap)
        period.save(update_fields=["cap_picousd", "over_picousd"])


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that has ended, as far as a budget is concerned."""

    id: UUID
    cost_usd: Decimal | None
    member_id: int | None
    operator: str


_COLUMNS = ("pk", "cost_usd", "step__run__member", "step__run__started_by")


def count_uncounted(budget: Budget, now: datetime) -> int:
    """Book the ended calls of the current interval that have no reservation; return how many."""
    since = starts_at(budget.interval, now)
    calls = _calls_of(budget).filter(
        started_at__gte=budget.created_at if budget.interval == Interval.ONCE else since
    )
    if (end := ends_at(budget.interval, since)) is not None:
        calls = calls.filter(started_at__lt=end)
    reserved = Reservation.objects.filter(call_id=OuterRef("pk"), period__budget=budget)
    uncounted = calls.exclude(status=CallStatus.RUNNING).exclude(Exists(reserved))
    counted = 0
    while found := list(uncounted.order_by("started_at").values_list(*_COLUMNS)[:AT_ONCE]):
        _book(budget, since, [_Call(*row) for row in found], now)
        counted += len(found)
    return counted


@transaction.atomic
def _book(budget: Budget, since: datetime, calls: list[_Call], now: datetime) -> None:
    database = connections["default"]
    keys = {call.id: (budget.pk, _key_of(budget, call), since) for call in calls}
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
        if call.id in found:
            continue
        period, cost = by_key[keys[call.id]], picodollars(call.cost_usd or Decimal(0))
        period.spent += cost
        booked.append(
            rows.NewReservation(call.id, period.id, cost, state=ReservationState.BOOKED.value)
        )
    rows.insert_reservations(database, booked, now)
    rows.write(database, periods.values(), now)


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
    old = Reservation.objects.filter(
        state=ReservationState.HELD, created_at__lt=now - CHECKED_AFTER
    )
    ids = list(old.order_by("created_at").values_list("call_id", flat=True).distinct()[:AT_ONCE])
    calls = LLMCall.objects.filter(pk__in=ids)
    lasting = calls.filter(
        status=CallStatus.RUNNING,
        step__status=StepStatus.RUNNING,
        started_at__gte=now - longest_step - CHECKED_AFTER,
    )
    known = {
        pk: (status, cost) for pk, status, cost in calls.values_list("pk", "status", "cost_usd")
    }
    over = set(ids).difference(lasting.values_list("pk", flat=True))
    with transaction.atomic(), ledger.gathering():
        for call_id in over:
            status, cost_usd = known.get(call_id, (None, None))
            if cost_usd is not None:
                ledger.settle(call_id, ReservationState.BOOKED, cost_usd)
            elif status == CallStatus.ERROR:
                ledger.settle(call_id, ReservationState.RELEASED)
            else:
                ledger.settle(call_id, ReservationState.UNKNOWN)
    return len(over)


def book_unknown(now: datetime) -> int:
    """Book what has been unknown for a day at the most it can have cost; return how many calls."""
    old = Reservation.objects.filter(
        state=ReservationState.UNKNOWN, created_at__lt=now - SOUGHT_FOR
    )
    ids = list(old.order_by("created_at").values_list("call_id", flat=True).distinct()[:AT_ONCE])
    with transaction.atomic(), ledger.gathering():
        for call_id in ids:
            ledger.settle(call_id, ReservationState.BOOKED_AT_MOST)
    return len(ids)


def sought(now: datetime) -> list[LLMCall]:
    """Return the calls with an unknown cost that the provider may know by their id."""
    unknown = Reservation.objects.filter(
        state=ReservationState.UNKNOWN, created_at__gte=now - SOUGHT_FOR
    )
    calls = LLMCall.objects.filter(pk__in=unknown.values("call_id"), cost_usd=None)
    return list(calls.exclude(generation_id="").select_related("step").order_by("started_at"))


# --- the sums ------------------------------------------------------------------------------------


def audit(now: datetime) -> list[str]:
    """Compare the sums of each current period with its reservations, and correct wrong ones.

    Returns:
        What was wrong, as sentences.
    """
    wrong = []
    current = Q()
    for interval in Interval:
        current |= Q(budget__interval=interval, starts_at=starts_at(interval, now))
    for period_id in BudgetPeriod.objects.filter(current).values_list("pk", flat=True):
        with transaction.atomic():
            period = BudgetPeriod.objects.select_for_update(no_key=True).get(pk=period_id)
            of_period = Reservation.objects.filter(period=period)
            held = _sum(of_period.filter(state__in=OPEN_STATES))
            booked = _sum(of_period.exclude(state__in=OPEN_STATES))
            if (held, booked) == (period.reserved_picousd, period.spent_picousd):
                continue
            wrong.append(
                f"{period}: reserved {period.reserved_picousd} and spent {period.spent_picousd} "
                f"picodollars, by its calls {held} and {booked}"
            )
            period.reserved_picousd, period.spent_picousd = held, booked
            period.over_picousd = max(0, held + booked - period.cap_picousd)
            period.save(update_fields=["reserved_picousd", "spent_picousd", "over_picousd"])
    return wrong


def _sum(reservations: QuerySet[Reservation]) -> int:
    return int(reservations.aggregate(sum=Sum("picousd"))["sum"] or 0)
