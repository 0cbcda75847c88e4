"""Reserve what a call may cost before it is sent; book what it did cost when it has ended.

Both are parts of the journal's transactions (`gathering`): a call's row and its reservations are
committed together, and so are its end and their settlement. All reservations and settlements of a
transaction are applied at its end, together: settlements first, then reservations in the order of
their submission. Open reservations are locked first and periods after all other rows, each in the
order of their ids, and a period is written once, so that no transaction waits for another in a
circle, and a busy period is locked only for the time of the commit.

A call that does not fit is refused with a value and not with an exception, which would roll back
all other facts of the transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F
from django.utils import timezone

from pipeline.budgets import rows, turns
from pipeline.budgets.intervals import ends_at, starts_at
from pipeline.budgets.money import picodollars
from pipeline.budgets.turns import Refusal
from pipeline.models.budgets import OF_MEMBERS, Budget, BudgetPeriod, ReservationState, Scope
from pipeline.models.operations import PeriodicJob

MAX_KNOWN_PERIODS = 10_000
NEARLY_USED_UP = Decimal("0.8")  # of the cap: operators are told


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a call on the shared key may cost, and what decides which budgets it counts for."""

    call_id: UUID
    agent: str
    model_id: str
    member_id: int | None  # None: of no member, or it counts for no limit of a member
    operator: str | None  # None: no trial and no rerun
    most_usd: Decimal
    likely_usd: Decimal


@dataclass(slots=True)
class Admission:
    """The result of a reservation, known once the transaction has ended."""

    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class _Reservation:
    need: Need
    write_call: Callable[[], None]
    admission: Admission = field(default_factory=Admission)


@dataclass(frozen=True, slots=True)
class _Settlement:
    call_id: UUID
    state: ReservationState
    cost_picousd: int = 0


@dataclass(slots=True)
class _Batch:
    """What a transaction reserves and settles."""

    reservations: list[_Reservation] = field(default_factory=list)
    settlements: list[_Settlement] = field(default_factory=list)


class _Gathered(threading.local):
    """The batch of this thread's transaction, while `gathering`."""

    batch: _Batch | None = None

    def of_this_transaction(self) -> _Batch:
        if self.batch is None:
            raise RuntimeError("reserve and settle in the block of `gathering` only")
        return self.batch


_gathered = _Gathered()


@contextmanager
def gathering() -> Iterator[None]:
    """Apply the reservations and settlements made in the block at its end; may be nested."""
    if _gathered.batch is not None:
        yield
        return
    batch = _gathered.batch = _Batch()
    try:
        yield
        _apply(batch.reservations, batch.settlements)
    finally:
        _gathered.batch = None


def reserve(need: Need, write_call: Callable[[], None]) -> Admission:
    """Set aside what a call may cost; `write_call` is called at the end if there is room.

    The call's settlement must be in a later transaction.
    """
    reservation = _Reservation(need, write_call)
    _gathered.of_this_transaction().reservations.append(reservation)
    return reservation.admission


def settle(call_id: UUID, state: ReservationState, cost_usd: Decimal | None = None) -> None:
    """Release or book what was set aside for a call; do nothing if that has been done."""
    settlement = _Settlement(call_id, state, picodollars(cost_usd or Decimal(0)))
    _gathered.of_this_transaction().settlements.append(settlement)


def note_refusal(refusal: Refusal) -> None:
    """Count a refusal of a call that waited; the others are counted as they are decided."""
    BudgetPeriod.objects.filter(pk=refusal.period_id).update(
        refusals=F("refusals") + 1, last_refused_at=timezone.now()
    )
    PeriodicJob.hasten(PeriodicJob.ALERTS)


# --- at the end of a transaction -----------------------------------------------------------------


def _apply(reservations: Sequence[_Reservation], settlements: Sequence[_Settlement]) -> None:
    if not (reservations or settlements):
        return
    database = connections["default"]
    wanted, now = _wanted(database, reservations)
    found = rows.open_reservations(database, [settlement.call_id for settlement in settlements])
    periods = locked(
        database, {row.period_id for row in found}, {key for of_call in wanted for key in of_call}
    )
    before = {id_: (period.spent + period.unknown, period.over) for id_, period in periods.items()}
    _settle(database, settlements, found, periods)
    _reserve(database, reservations, wanted, periods, now)
    rows.write(database, periods.values(), now)
    if any(_is_news(period, *before[id_]) for id_, period in periods.items()):
        transaction.on_commit(lambda: PeriodicJob.hasten(PeriodicJob.ALERTS), robust=True)


def _settle(
    database: BaseDatabaseWrapper,
    settlements: Sequence[_Settlement],
    found: Sequence[rows.OpenReservation],
    periods: dict[int, rows.Period],
) -> None:
    changes = []
    of_call = {settlement.call_id: settlement for settlement in settlements}
    for row in found:
        settlement, period = of_call[row.call_id], periods.get(row.period_id)
        amount = settlement.cost_picousd
        if settlement.state == ReservationState.BOOKED_AT_MOST:
            amount = row.picousd
        elif settlement.state == ReservationState.UNKNOWN:
            amount = min(row.picousd, row.estimate) if row.scope in OF_MEMBERS else row.picousd
        changes.append((settlement.state.value, amount, row.id))
        if period is None:  # its budget has just been deleted
            continue
        if row.state == ReservationState.UNKNOWN:
            period.unknown -= row.picousd
        else:
            period.reserved -= row.picousd
        if settlement.state == ReservationState.UNKNOWN:
            period.unknown += amount
        else:
            period.spent += amount
    if changes:
        with database.cursor() as cursor:
            cursor.executemany(
                "UPDATE pipeline_reservation SET state = %s, picousd = %s WHERE id = %s", changes
            )


def _reserve(
    database: BaseDatabaseWrapper,
    reservations: Sequence[_Reservation],
    wanted: Sequence[Sequence[rows.PeriodKey]],
    periods: dict[int, rows.Period],
    now: datetime,
) -> None:
    by_key = {period.key: period for period in periods.values()}
    inserted = []
    for reservation, keys in zip(reservations, wanted, strict=True):
        need = reservation.need
        most, likely = picodollars(need.most_usd), picodollars(need.likely_usd)
        of_call = [by_key[key] for key in keys if key in by_key]
        if (refusal := _refusal(of_call, need.call_id, most)) is not None:
            reservation.admission.refusal = refusal
            if refusal.is_for_good:
                periods[refusal.period_id].refusals += 1
            continue
        reservation.write_call()
        for period in of_call:
            period.reserved += most
            inserted.append(rows.NewReservation(need.call_id, period.id, most, min(most, likely)))
    rows.insert_reservations(database, inserted, now)


def _refusal(periods: Iterable[rows.Period], call_id: UUID, need: int) -> Refusal | None:
    """Return why a call has no room: for good if there is such a reason, else for now."""
    waits = None
    for period in periods:
        refusal = Refusal(
            period_id=period.id,
            need_picousd=need,
            cap_picousd=period.cap,
            spent_picousd=period.spent + period.unknown,
            reserved_picousd=period.reserved,
        )
        if refusal.is_for_good:
            return refusal
        is_full = period.reserved + period.unknown + period.spent + need > period.cap
        if is_full or turns.is_taken(period.id, call_id):
            waits = waits or refusal
    return waits


def _is_news(period: rows.Period, spent_before: int, over_before: int) -> bool:
    """Whether operators have to be told: nearly used up, used up, or beyond the cap."""
    nearly = int(period.cap * NEARLY_USED_UP)
    return (
        bool(period.refusals)
        or spent_before < nearly <= period.spent + period.unknown
        or (period.over > 0 and over_before == 0)
    )


def _wanted(
    database: BaseDatabaseWrapper, reservations: Sequence[_Reservation]
) -> tuple[list[list[rows.PeriodKey]], datetime]:
    """Return for each call the periods that it counts for, which exist, and the database's time."""
    if not reservations:
        return [], timezone.now()
    rules, now = rows.rules_now(database)
    wanted = [
        [
            (rule.id, key, starts_at(rule.interval, now))
            for rule, key in _period_keys(one.need, rules)
        ]
        for one in reservations
    ]
    # No period is locked yet, so that waiting for another transaction's new row is no deadlock.
    create({key for of_call in wanted for key in of_call if key not in known_periods})
    return wanted, now


# --- which periods -------------------------------------------------------------------------------


def _period_keys(need: Need, rules: Sequence[rows.Rule]) -> Iterator[tuple[rows.Rule, str]]:
    """Yield the budgets that a call counts for, each with the key of its period."""
    own = {
        rule.interval
        for rule in rules
        if rule.scope == Scope.MEMBER and rule.member_id == need.member_id
    }
    for rule in rules:
        match rule.scope:
            case Scope.SHARED_KEY:
                yield rule, ""
            case Scope.AGENT if rule.name == need.agent:
                yield rule, ""
            case Scope.MODEL if rule.name == need.model_id:
                yield rule, ""
            case Scope.MEMBER if need.member_id is not None and rule.member_id == need.member_id:
                yield rule, ""
            case Scope.EACH_MEMBER if need.member_id is not None and rule.interval not in own:
                yield rule, str(need.member_id)
            case Scope.TRIALS if need.operator is not None:
                yield rule, need.operator


known_periods: set[rows.PeriodKey] = set()  # exist, unless their budget was deleted


def create(keys: Iterable[rows.PeriodKey]) -> None:
    """Create the rows of periods that do not exist, unless their budget has just been deleted."""
    wanted = sorted(keys)
    if not wanted:
        return
    budgets = Budget.objects.in_bulk({budget_id for budget_id, _, _ in wanted})
    missing = [key for key in wanted if key[0] in budgets]
    created = [
        BudgetPeriod(
            budget=budgets[budget_id],
            key=key,
            starts_at=start,
            ends_at=ends_at(budgets[budget_id].interval, start),
            cap_picousd=picodollars(budgets[budget_id].cap_usd),
        )
        for budget_id, key, start in missing
    ]
    BudgetPeriod.objects.bulk_create(created, ignore_conflicts=True)
    if len(known_periods) > MAX_KNOWN_PERIODS:
        known_periods.clear()
    transaction.on_commit(lambda: known_periods.update(missing), robust=True)


def locked(
    database: BaseDatabaseWrapper, ids: Collection[int], keys: Collection[rows.PeriodKey]
) -> dict[int, rows.Period]:
    """Return periods by id, locked in the order of their ids; those of `keys` are created."""
    found = rows.locked(database, ids, keys)
    if missing := set(keys).difference(period.key for period in found.values()):
        # They were known, and deleted with another database's rows or with their budget.
        create(missing)
        found |= rows.locked(database, [], missing)
    return found
