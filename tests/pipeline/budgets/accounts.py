"""Budgets, calls and their sums, for tests of the ledger without runs and providers."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import F, Sum

from pipeline.budgets import ledger
from pipeline.budgets.ledger import Need
from pipeline.budgets.money import dollars
from pipeline.budgets.turns import Refusal
from pipeline.models import Budget, BudgetPeriod, Reservation
from pipeline.models.budgets import OPEN_STATES, Interval, ReservationState, Scope

CENT = Decimal("0.01")


def a_budget(
    cap_usd: Decimal | str | int, scope: Scope = Scope.SHARED_KEY, **fields: Any
) -> Budget:
    fields.setdefault("interval", Interval.DAY)
    return Budget.objects.create(scope=scope, cap_usd=Decimal(cap_usd), **fields)


def a_need(most_usd: Decimal = CENT, **fields: Any) -> Need:
    values: dict[str, Any] = {
        "call_id": uuid4(),
        "agent": "strategist",
        "model_id": "openai/gpt-4.1",
        "member_id": None,
        "operator": None,
        "most_usd": most_usd,
        "likely_usd": most_usd / 4,
    }
    return Need(**values | fields)


def reserve_all(needs: Sequence[Need]) -> tuple[list[Refusal | None], list[UUID]]:
    """Reserve for calls in one transaction; return the refusals, and the calls written."""
    written: list[UUID] = []
    with transaction.atomic(), ledger.gathering():
        verdicts = [ledger.reserve(need, partial(written.append, need.call_id)) for need in needs]
    return [verdict.refusal for verdict in verdicts], written


def reserve(need: Need) -> Refusal | None:
    refusals, _ = reserve_all([need])
    return refusals[0]


def settle(
    need: Need,
    cost_usd: Decimal | None = None,
    state: ReservationState = ReservationState.BOOKED,
) -> None:
    with transaction.atomic(), ledger.gathering():
        ledger.settle(need.call_id, state, cost_usd)


def sums(period: BudgetPeriod | None = None) -> tuple[Decimal | int, ...]:
    """Return what a period, or the only one, has set aside, spent and exceeded, in dollars."""
    row = BudgetPeriod.objects.get(pk=period.pk) if period else BudgetPeriod.objects.get()
    return (
        dollars(row.reserved_picousd + row.unknown_picousd),
        dollars(row.spent_picousd),
        dollars(row.over_picousd),
    )


def wrong_periods() -> list[str]:
    """Describe the periods whose sums are not those of their reservations."""
    wrong = []
    for period in BudgetPeriod.objects.all():
        rows = Reservation.objects.filter(period=period)
        held, unknown = (
            rows.filter(state=state).aggregate(sum=Sum("picousd"))["sum"] or 0
            for state in OPEN_STATES
        )
        booked = rows.exclude(state__in=OPEN_STATES).aggregate(sum=Sum("picousd"))["sum"] or 0
        are = (period.reserved_picousd, period.unknown_picousd, period.spent_picousd)
        if (held, unknown, booked) != are:
            wrong.append(f"{period}: {held}, {unknown} and {booked} by its rows, in it {are}")
    return wrong


def is_for_good(refusal: Refusal | None) -> bool:
    """Return whether a call was refused for good; an error if it was not refused."""
    assert refusal is not None
    return refusal.is_for_good


def beyond_cap() -> list[BudgetPeriod]:
    """Return the periods that have spent more than their cap."""
    return list(BudgetPeriod.objects.filter(spent_picousd__gt=F("cap_picousd")))
