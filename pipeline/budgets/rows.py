"""The rows of periods and reservations: read under lock, and written, with few statements."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

PeriodKey = tuple[int, str, datetime]  # budget, key in it, start


@dataclass(slots=True)
class Period:
    """The sums of a period whose row is locked."""

    id: int
    key: PeriodKey
    cap: int
    reserved: int
    unknown: int
    spent: int
    over: int
    refusals: int = 0  # more than before


@dataclass(frozen=True, slots=True)
class NewReservation:
    """What is set aside or booked for a call in a period."""

    call_id: UUID
    period_id: int
    picousd: int
    estimate: int = 0
    state: str = "held"  # of `ReservationState`


@dataclass(frozen=True, slots=True)
class OpenReservation:
    """An open reservation whose row is locked."""

    id: int
    call_id: UUID
    period_id: int
    picousd: int
    estimate: int
    state: str
    scope: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A budget as far as it decides whether a call counts for it."""

    id: int
    scope: str
    name: str
    member_id: int | None
    interval: str


def rules_now(database: BaseDatabaseWrapper) -> tuple[list[Rule], datetime]:
    """Return all budgets, and the time by the database's clock."""
    is_postgresql = database.vendor == "postgresql"
    clock = "clock_timestamp()" if is_postgresql else "NULL"
    with database.cursor() as cursor:
        cursor.execute(
            f'SELECT id, scope, name, member_id, "interval", {clock} FROM pipeline_budget'  # noqa: S608
        )
        rows = cursor.fetchall()
    now: datetime = rows[0][-1] if rows and is_postgresql else timezone.now()
    return [Rule(*row[:-1]) for row in rows], now


def open_reservations(
    database: BaseDatabaseWrapper, call_ids: Collection[UUID]
) -> list[OpenReservation]:
    """Return the open reservations of calls, locked in the order of their ids."""
    if not call_ids:
        return []
    ids = adapted(database, call_ids)
    lock = " FOR NO KEY UPDATE OF r" if database.features.has_select_for_update else ""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT r.id, r.call_id, r.period_id, r.picousd, r.estimate_picousd, r.state, b.scope"  # noqa: S608
            " FROM pipeline_reservation r"
            " JOIN pipeline_budgetperiod p ON p.id = r.period_id"
            " JOIN pipeline_budget b ON b.id = p.budget_id"
            f" WHERE r.call_id IN ({', '.join(['%s'] * len(ids))})"
            f" AND r.state IN ('held', 'unknown') ORDER BY r.id{lock}",
            ids,
        )
        rows = cursor.fetchall()
    return [OpenReservation(row[0], _uuid(row[1]), *row[2:]) for row in rows]


def locked(
    database: BaseDatabaseWrapper, ids: Collection[int], keys: Collection[PeriodKey]
) -> dict[int, Period]:
    """Return the existing periods by id, locked in the order of their ids."""
    if not (ids or keys):
        return {}
    conditions = ["(budget_id = %s AND key = %s AND starts_at = %s)"] * len(keys)
    if ids:
        conditions.append(f"id IN ({', '.join(['%s'] * len(ids))})")
    values = adapted(database, [*(part for key in sorted(keys) for part in key), *sorted(ids)])
    lock = " FOR NO KEY UPDATE" if database.features.has_select_for_update else ""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT id, budget_id, key, starts_at,"  # noqa: S608
            " cap_picousd, reserved_picousd, unknown_picousd, spent_picousd, over_picousd"
            f" FROM pipeline_budgetperiod WHERE {' OR '.join(conditions)} ORDER BY id{lock}",
            values,
        )
        rows = cursor.fetchall()
    return {row[0]: Period(row[0], (row[1], row[2], _aware(row[3])), *row[4:]) for row in rows}


def insert_reservations(
    database: BaseDatabaseWrapper, found: Sequence[NewReservation], now: datetime
) -> None:
    """Insert reservations that do not exist."""
    if not found:
        return
    values = [
        (row.call_id, row.period_id, row.picousd, row.estimate, now, row.state) for row in found
    ]
    with database.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO pipeline_reservation"
            " (call_id, period_id, picousd, estimate_picousd, created_at, state)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [adapted(database, row) for row in values],
        )


def write(database: BaseDatabaseWrapper, periods: Iterable[Period], now: datetime) -> None:
    """Write the sums of locked periods."""
    changes = []
    for period in periods:
        total = period.reserved + period.unknown + period.spent
        period.over = max(0, total - period.cap)
        refused_at = now if period.refusals else None
        sums = (period.reserved, period.unknown, period.spent, period.over)
        values = (*sums, period.refusals, refused_at)
        changes.append(adapted(database, (*values, period.id)))
    if changes:
        with database.cursor() as cursor:
            cursor.executemany(
                "UPDATE pipeline_budgetperiod SET reserved_picousd = %s, unknown_picousd = %s,"
                " spent_picousd = %s, over_picousd = %s, refusals = refusals + %s,"
                " last_refused_at = COALESCE(%s, last_refused_at) WHERE id = %s",
                changes,
            )


def adapted(database: BaseDatabaseWrapper, values: Iterable[Any]) -> list[Any]:
    """Return values as the database driver takes them."""
    adapted = []
    for value in values:
        if isinstance(value, UUID) and not database.features.has_native_uuid_field:
            value = value.hex
        elif isinstance(value, datetime):
            value = database.ops.adapt_datetimefield_value(value)
        adapted.append(value)
    return adapted


def _aware(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _uuid(value: UUID | str) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)
