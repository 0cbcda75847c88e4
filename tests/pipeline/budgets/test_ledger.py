"""What is set aside for a call and what is booked for it: the sums of a budget are always right."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from unittest.mock import patch

import pytest
from django.db import transaction
from django.test import TransactionTestCase
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase as HypothesisTestCase

from pipeline.budgets import ledger, turns
from pipeline.budgets.ledger import Need
from pipeline.budgets.money import dollars
from pipeline.models import Budget, BudgetPeriod, Member, PeriodicJob, Reservation
from pipeline.models.budgets import Interval, ReservationState, Scope
from tests.pipeline.budgets.accounts import (
    CENT,
    a_budget,
    a_need,
    beyond_cap,
    is_for_good,
    reserve,
    reserve_all,
    settle,
    sums,
    wrong_periods,
)


class LedgerCase(TransactionTestCase):
    def setUp(self) -> None:
        Budget.objects.all().delete()


class ReservingTests(LedgerCase):
    def test_without_a_budget_every_call_is_written_and_nothing_is_set_aside(self):
        needs = [a_need(Decimal(1_000)) for _ in range(3)]
        refusals, written = reserve_all(needs)

        assert refusals == [None] * 3
        assert written == [need.call_id for need in needs]
        assert not Reservation.objects.exists()

    def test_calls_are_accepted_in_their_order_as_long_as_all_together_fit(self):
        a_budget("0.025")
        needs = [a_need(CENT), a_need(CENT), a_need(CENT), a_need(CENT / 2)]
        refusals, written = reserve_all(needs)

        assert [refusal is None for refusal in refusals] == [True, True, False, True]
        assert written == [needs[0].call_id, needs[1].call_id, needs[3].call_id]
        assert sums() == (Decimal("0.025"), 0, 0)
        assert wrong_periods() == []

    def test_a_call_that_only_others_reservations_keep_out_is_not_refused_for_good(self):
        a_budget("0.015")
        assert reserve(a_need(CENT)) is None

        assert not is_for_good(reserve(a_need(CENT)))
        assert is_for_good(reserve(a_need(CENT * 2)))
        assert BudgetPeriod.objects.get().refusals == 1

    def test_a_call_that_fits_to_the_last_unit_is_sent(self):
        a_budget("0.01")
        assert reserve(a_need(CENT)) is None
        assert reserve(a_need(Decimal("0.000000000001"))) is not None

    def test_the_budget_that_has_no_room_at_all_is_named_before_one_that_is_full_for_now(self):
        full = a_budget("0.01", Scope.AGENT, name="strategist")
        a_budget("0.005", Scope.MODEL, name="openai/gpt-5")
        assert reserve(a_need(CENT)) is None

        refusal = reserve(a_need(CENT, model_id="openai/gpt-5"))
        assert is_for_good(refusal)
        assert refusal is not None
        assert BudgetPeriod.objects.get(pk=refusal.period_id).budget_id != full.pk

    def test_a_refused_call_takes_nothing_from_the_budgets_that_had_room(self):
        a_budget("1.00")
        a_budget("0.001", Scope.AGENT, name="strategist")
        assert reserve(a_need(CENT)) is not None

        assert not Reservation.objects.exists()
        assert set(BudgetPeriod.objects.values_list("reserved_picousd", flat=True)) == {0}

    def test_a_transaction_that_is_rolled_back_sets_nothing_aside(self):
        a_budget("0.01")

        def breaks() -> None:
            raise RuntimeError

        with pytest.raises(RuntimeError), transaction.atomic(), ledger.gathering():
            ledger.reserve(a_need(CENT), breaks)

        assert reserve(a_need(CENT)) is None
        assert wrong_periods() == []

    def test_a_call_waits_behind_one_that_is_before_it_in_line(self):
        a_budget("1.00")
        reserve(a_need(CENT))
        first, second = a_need(CENT), a_need(CENT)
        since = time.monotonic()
        line = {BudgetPeriod.objects.get().pk: [(first.call_id, since), (second.call_id, since)]}
        with patch.dict(turns._lines, line):
            assert not is_for_good(reserve(second))
            assert reserve(first) is None

    def test_a_call_that_fits_does_not_wait_for_ever_behind_one_that_does_not(self):
        a_budget("1.00")
        reserve(a_need(CENT))
        since = time.monotonic() - turns.FAIR_FOR_S
        line = {BudgetPeriod.objects.get().pk: [(a_need().call_id, since)]}
        with patch.dict(turns._lines, line):
            assert reserve(a_need(CENT)) is None


class SettlingTests(LedgerCase):
    def setUp(self) -> None:
        super().setUp()
        a_budget("0.10")
        self.need = a_need(CENT)
        reserve(self.need)

    def test_the_cost_takes_the_place_of_what_was_set_aside(self):
        settle(self.need, Decimal("0.003"))
        assert sums() == (0, Decimal("0.003"), 0)

    def test_a_call_that_cost_nothing_gives_everything_back(self):
        settle(self.need, state=ReservationState.RELEASED)
        assert sums() == (0, 0, 0)

    def test_a_settlement_that_is_repeated_counts_once(self):
        for _ in range(2):
            settle(self.need, Decimal("0.003"))
        settle(self.need, state=ReservationState.UNKNOWN)
        assert sums() == (0, Decimal("0.003"), 0)

    def test_an_unknown_cost_stays_set_aside_until_it_is_known(self):
        settle(self.need, state=ReservationState.UNKNOWN)
        assert sums() == (CENT, 0, 0)
        settle(self.need, Decimal("0.002"))
        assert sums() == (0, Decimal("0.002"), 0)

    def test_an_unknown_cost_refuses_at_once_what_it_leaves_no_room_for(self):
        settle(self.need, state=ReservationState.UNKNOWN)
        assert is_for_good(reserve(a_need(CENT * 10)))

    def test_a_cost_that_is_never_found_out_is_booked_at_the_most_it_can_be(self):
        settle(self.need, state=ReservationState.UNKNOWN)
        settle(self.need, state=ReservationState.BOOKED_AT_MOST)
        assert sums() == (0, CENT, 0)

    def test_a_call_dearer_than_reserved_is_booked_whole_and_the_excess_is_told(self):
        settle(self.need, Decimal("0.12"))
        assert sums() == (0, Decimal("0.12"), Decimal("0.02"))
        assert is_for_good(reserve(a_need(CENT)))

    def test_a_call_is_booked_in_the_period_it_was_reserved_in_however_late(self):
        yesterday = BudgetPeriod.objects.get()
        before = yesterday.starts_at - timedelta(days=1)
        BudgetPeriod.objects.update(starts_at=before, ends_at=yesterday.starts_at)
        today = a_need(CENT)
        reserve(today)

        settle(self.need, Decimal("0.003"))
        assert sums(yesterday) == (0, Decimal("0.003"), 0)
        assert BudgetPeriod.objects.exclude(pk=yesterday.pk).get().reserved_picousd > 0

    def test_a_settlement_makes_room_for_a_call_of_the_same_transaction(self):
        settle(self.need, Decimal("0.001"))
        first = a_need(Decimal("0.09"))
        reserve(first)
        with transaction.atomic(), ledger.gathering():
            verdict = ledger.reserve(a_need(Decimal("0.09")), lambda: None)
            ledger.settle(first.call_id, ReservationState.RELEASED)
        assert verdict.refusal is None

    def test_a_budget_that_is_deleted_meanwhile_takes_its_sums_along(self):
        Budget.objects.all().delete()
        settle(self.need, Decimal("0.003"))
        assert not Reservation.objects.exists()

    def test_a_known_period_whose_row_is_gone_is_created_again(self):
        BudgetPeriod.objects.all().delete()
        assert reserve(a_need(CENT)) is None
        assert sums() == (CENT, 0, 0)


class MatchingTests(LedgerCase):
    def setUp(self) -> None:
        super().setUp()
        self.maya = Member.objects.create(telegram_id=1)
        self.tom = Member.objects.create(telegram_id=2)

    def reserved(self, budget: Budget, key: str = "") -> Decimal:
        rows = BudgetPeriod.objects.filter(budget=budget, key=key)
        return sum(
            (dollars(row.reserved_picousd + row.unknown_picousd) for row in rows), Decimal(0)
        )

    def test_a_call_counts_for_every_budget_that_it_matches(self):
        budgets = [
            a_budget(1),
            a_budget(2, interval=Interval.MONTH),
            a_budget(1, Scope.AGENT, name="strategist"),
            a_budget(1, Scope.MODEL, name="openai/gpt-4.1"),
        ]
        others = [
            a_budget(1, Scope.AGENT, name="trainer"),
            a_budget(1, Scope.MODEL, name="openai/gpt-4.1-mini"),
            a_budget(1, Scope.TRIALS),
            a_budget(1, Scope.EACH_MEMBER),
        ]
        reserve(a_need(CENT))

        assert [self.reserved(budget) for budget in budgets] == [CENT] * 4
        assert [self.reserved(budget) for budget in others] == [0] * 4

    def test_each_member_has_a_period_of_their_own(self):
        budget = a_budget("0.01", Scope.EACH_MEMBER)
        assert reserve(a_need(CENT, member_id=self.maya.pk)) is None
        assert reserve(a_need(CENT, member_id=self.tom.pk)) is None
        assert reserve(a_need(CENT, member_id=self.maya.pk)) is not None
        assert self.reserved(budget, str(self.tom.pk)) == CENT

    def test_a_budget_of_one_member_replaces_the_one_for_each_of_the_same_interval(self):
        daily = a_budget(1, Scope.EACH_MEMBER)
        monthly = a_budget(1, Scope.EACH_MEMBER, interval=Interval.MONTH)
        own = a_budget(5, Scope.MEMBER, member=self.maya)
        assert reserve(a_need(CENT, member_id=self.maya.pk)) is None
        assert reserve(a_need(CENT, member_id=self.tom.pk)) is None

        assert self.reserved(own) == CENT
        assert self.reserved(daily, str(self.maya.pk)) == 0
        assert self.reserved(daily, str(self.tom.pk)) == CENT
        assert self.reserved(monthly, str(self.maya.pk)) == CENT

    def test_a_trial_counts_for_its_operator_and_for_no_member(self):
        of_members, trials = a_budget(1, Scope.EACH_MEMBER), a_budget(1, Scope.TRIALS)
        reserve(a_need(CENT, operator="ana"))
        reserve(a_need(CENT, member_id=self.maya.pk))

        assert self.reserved(of_members, str(self.maya.pk)) == CENT
        assert self.reserved(trials, "ana") == CENT

    def test_an_unknown_cost_counts_for_a_member_as_estimated_and_for_the_team_at_most(self):
        team, mayas = a_budget(1), a_budget(1, Scope.EACH_MEMBER)
        need = a_need(CENT, member_id=self.maya.pk)
        reserve(need)
        settle(need, state=ReservationState.UNKNOWN)

        assert self.reserved(team) == CENT
        assert self.reserved(mayas, str(self.maya.pk)) == need.likely_usd
        assert wrong_periods() == []


class NewsTests(LedgerCase):
    """Operators hear at once of a budget that is nearly used up, used up or exceeded."""

    def is_hastened(self, need: Need, cost_usd: Decimal | None) -> bool:
        later = datetime(2100, 1, 1, tzinfo=UTC)
        PeriodicJob.objects.update_or_create(name=PeriodicJob.ALERTS, defaults={"due_at": later})
        reserve(need)
        if cost_usd is not None:
            settle(need, cost_usd)
        return PeriodicJob.objects.get(name=PeriodicJob.ALERTS).due_at < later

    def test_the_alerts_are_due_when_four_fifths_are_spent_and_at_each_refusal(self):
        a_budget("0.10")
        assert not self.is_hastened(a_need(Decimal("0.08")), Decimal("0.079"))
        assert self.is_hastened(a_need(CENT), Decimal("0.001"))
        assert not self.is_hastened(a_need(CENT), Decimal("0.001"))
        assert self.is_hastened(a_need(Decimal("0.05")), None)


class AnyOrderTests(HypothesisTestCase):
    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["reserve", *ReservationState]),
                st.integers(0, 5),
                st.integers(1, 30),
            ),
            max_size=30,
        )
    )
    def test_whatever_happens_the_sums_are_those_of_the_rows_and_the_teams_cap_holds(self, events):
        Budget.objects.all().delete()
        a_budget("0.50")
        a_budget("0.30", Scope.EACH_MEMBER)
        maya = Member.objects.get_or_create(telegram_id=1)[0]
        open_calls: list[Need] = []
        for event, which, cents in events:
            if event == "reserve":
                need = a_need(CENT * cents, member_id=maya.pk if which % 2 else None)
                if reserve(need) is None:
                    open_calls.append(need)
            elif open_calls and event != ReservationState.HELD:
                need = open_calls[which % len(open_calls)]
                settle(need, min(CENT * cents, need.most_usd), ReservationState(event))
            assert wrong_periods() == []
            # A member's cap may be exceeded by what was counted as estimated.
            assert {period.budget.scope for period in beyond_cap()} <= {Scope.EACH_MEMBER}
