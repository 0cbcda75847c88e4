"""Budgets stay right where no call does it: new ones, changed caps, kills and wrong sums."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from django.db.models import F
from django.test import TransactionTestCase
from django.utils import timezone

from pipeline.budgets import upkeep
from pipeline.budgets.intervals import starts_at
from pipeline.budgets.money import dollars
from pipeline.models import Budget, BudgetPeriod, LLMCall, Member, PeriodicJob, Reservation, StepRun
from pipeline.models.budgets import Interval, ReservationState, Scope
from pipeline.models.inbox import Buttons
from pipeline.models.runs import CallStatus, Source, StepStatus
from pipeline.operations import attention
from pipeline.operations.budget_job import keep_budgets
from pipeline.people import erasure
from tests.pipeline.budgets.accounts import (
    CENT,
    a_budget,
    a_need,
    is_for_good,
    reserve,
    settle,
    sums,
    wrong_periods,
)
from tests.pipeline.recorded import a_run

COST = Decimal("0.0005")  # of a recorded call
MINUTE = timedelta(minutes=1)


class UpkeepCase(TransactionTestCase):
    def setUp(self) -> None:
        self.now = timezone.now()
        self.maya = Member.objects.create(telegram_id=1, name="Maya")


class CountingTests(UpkeepCase):
    def test_a_new_budget_counts_what_its_interval_has_cost_before(self):
        a_run(member=self.maya)
        a_run({}, {"payer": "member"}, member=self.maya)
        a_run(source=Source.TRIAL, started_by="ana")
        budgets = {
            Scope.SHARED_KEY: 3 * COST,
            Scope.EACH_MEMBER: 2 * COST,
            Scope.TRIALS: COST,
        }
        for scope, spent in budgets.items():
            with self.subTest(scope):
                budget = a_budget(1, scope)
                for _ in range(2):  # counting twice counts once
                    upkeep.count_uncounted(budget, self.now)
                period = BudgetPeriod.objects.get(budget=budget)
                assert dollars(period.spent_picousd) == spent
        assert wrong_periods() == []

    def test_what_began_before_the_interval_or_is_under_way_is_not_counted(self):
        a_run(hours_ago=25)
        run = a_run()
        LLMCall.objects.filter(step__run=run).update(status=CallStatus.RUNNING, cost_usd=None)
        assert upkeep.count_uncounted(a_budget(1), self.now) == 0

    def test_a_call_that_began_before_midnight_is_counted_in_the_day_it_began(self):
        budget = a_budget(1)
        today = starts_at(budget.interval, self.now)
        Budget.objects.update(created_at=today - timedelta(days=1))
        budget.refresh_from_db()
        run = a_run()
        LLMCall.objects.filter(step__run=run).update(started_at=today - MINUTE)
        upkeep.count_uncounted(budget, today + MINUTE, since=today - 4 * MINUTE)
        period = BudgetPeriod.objects.get()
        assert period.starts_at == today - timedelta(days=1)
        assert dollars(period.spent_picousd) == COST

    def test_a_budget_without_an_end_counts_from_when_it_was_made(self):
        a_run(hours_ago=1)
        budget = a_budget(1, interval=Interval.ONCE)
        assert upkeep.count_uncounted(budget, self.now) == 0

    def test_a_call_that_was_reserved_is_not_counted_again(self):
        budget = a_budget(1)
        run = a_run()
        call = LLMCall.objects.get(step__run=run)
        need = a_need(CENT, call_id=call.pk)
        reserve(need)
        settle(need, call.cost_usd)
        assert upkeep.count_uncounted(budget, self.now) == 0

    async def test_the_job_counts_a_new_budget_at_once_and_all_of_them_once_a_day(self):
        await Budget.objects.acreate(scope=Scope.SHARED_KEY, cap_usd=1)
        job = await PeriodicJob.objects.acreate(name=PeriodicJob.BUDGETS, due_at=self.now)
        result = await keep_budgets(self.now, _unreachable)
        job.last_result = result
        await job.asave()

        assert list(result["counted"]) == [str((await Budget.objects.aget()).pk)]
        assert (await keep_budgets(self.now, _unreachable)) == result


async def _unreachable(text: str, buttons: Buttons = (), *, is_news: bool = False) -> bool:
    raise AssertionError(text)


class CapTests(UpkeepCase):
    def test_a_changed_cap_holds_at_once_and_what_exceeds_a_lower_one_is_noted(self):
        budget = a_budget("1.00")
        reserve(a_need(CENT * 50))
        for cap, over in (("0.30", "0.20"), ("2.00", "0")):
            Budget.objects.filter(pk=budget.pk).update(cap_usd=cap)
            budget.refresh_from_db()
            upkeep.apply_cap(budget.pk, self.now)
            assert sums() == (CENT * 50, 0, Decimal(over))
        assert reserve(a_need(CENT * 150)) is None
        assert is_for_good(reserve(a_need(CENT * 201)))


class AbandonedTests(UpkeepCase):
    def setUp(self) -> None:
        super().setUp()
        a_budget(1)
        run = a_run()
        self.call = LLMCall.objects.get(step__run=run)
        LLMCall.objects.update(status=CallStatus.RUNNING, cost_usd=None)
        StepRun.objects.update(status=StepStatus.RUNNING)
        self.need = a_need(CENT, call_id=self.call.pk)
        reserve(self.need)

    def settled(self, after: timedelta = MINUTE) -> str:
        upkeep.settle_abandoned(self.now + after, longest_step=2 * MINUTE)
        return Reservation.objects.get().state

    def test_a_call_under_way_keeps_what_is_set_aside(self):
        assert self.settled() == ReservationState.HELD

    def test_a_call_that_lasts_longer_than_a_step_may_was_killed(self):
        assert self.settled(3 * MINUTE) == ReservationState.UNKNOWN

    def test_a_call_whose_step_is_over_was_killed(self):
        StepRun.objects.update(status=StepStatus.INTERRUPTED)
        assert self.settled() == ReservationState.UNKNOWN

    def test_a_call_that_an_older_release_ended_is_settled_by_its_row(self):
        LLMCall.objects.update(status=CallStatus.OK, cost_usd=COST)
        assert self.settled() == ReservationState.BOOKED
        assert sums() == (0, COST, 0)

    def test_a_call_that_failed_and_cost_nothing_is_released(self):
        LLMCall.objects.update(status=CallStatus.ERROR)
        assert self.settled() == ReservationState.RELEASED

    def test_a_call_whose_row_was_deleted_is_not_forgotten(self):
        LLMCall.objects.all().delete()
        assert self.settled() == ReservationState.UNKNOWN

    def test_an_unknown_cost_that_an_older_release_has_learnt_is_booked(self):
        settle(self.need, state=ReservationState.UNKNOWN)
        LLMCall.objects.update(cost_usd=COST)
        assert self.settled() == ReservationState.BOOKED
        assert sums() == (0, COST, 0)

    def test_an_unknown_cost_is_booked_after_a_day(self):
        settle(self.need, state=ReservationState.UNKNOWN)
        upkeep.book_unknown(self.now + timedelta(hours=23))
        assert sums() == (CENT, 0, 0)
        upkeep.book_unknown(self.now + timedelta(hours=25))
        assert sums() == (0, CENT, 0)

    def test_only_calls_that_the_provider_knows_are_asked_for(self):
        settle(self.need, state=ReservationState.UNKNOWN)
        LLMCall.objects.update(generation_id="")
        assert upkeep.sought(self.now) == []
        LLMCall.objects.update(generation_id="gen-1")
        assert upkeep.sought(self.now) == [self.call]
        assert upkeep.sought(self.now + timedelta(hours=25)) == []


class ErasureTests(UpkeepCase):
    def test_an_erasure_keeps_the_sums_of_today_and_no_reference_to_a_call(self):
        a_budget(1, Scope.EACH_MEMBER)
        needs = [a_need(CENT, member_id=self.maya.pk) for _ in range(3)]
        for need in needs:
            reserve(need)
        settle(needs[0], COST)
        settle(needs[1], state=ReservationState.UNKNOWN)
        today = BudgetPeriod.objects.get()
        BudgetPeriod.objects.create(
            budget=today.budget,
            key=today.key,
            starts_at=today.starts_at - timedelta(days=1),
            ends_at=today.starts_at,
            cap_picousd=today.cap_picousd,
        )
        erasure.erase(self.maya, now=self.now)

        ids = [need.call_id for need in needs]
        assert not Reservation.objects.filter(call_id__in=ids).exists()
        assert sums() == (0, COST + CENT + needs[1].likely_usd, 0)
        assert wrong_periods() == []


class AuditTests(UpkeepCase):
    def test_sums_that_are_not_those_of_the_calls_are_corrected_and_told(self):
        a_budget(1)
        reserve(a_need(CENT))
        settled = a_need(CENT)
        reserve(settled)
        settle(settled, COST)
        (period_id,) = upkeep.audited(self.now)
        assert upkeep.audit(period_id) == ""

        BudgetPeriod.objects.update(spent_picousd=F("spent_picousd") * 2)
        assert "spent picodollars were" in upkeep.audit(period_id)
        assert sums() == (CENT, COST, 0)
        assert wrong_periods() == []


class AlertTests(UpkeepCase):
    def told(self) -> list[str]:
        found = attention.alerts(self.now)
        return [alert.text for alert in found if alert.key.startswith("budget")]

    def test_operators_are_told_at_four_fifths_and_when_requests_are_refused(self):
        a_budget("0.10", Scope.EACH_MEMBER)
        need = a_need(Decimal("0.08"), member_id=self.maya.pk)
        reserve(need)
        assert self.told() == []

        settle(need, Decimal("0.08"))
        (told,) = self.told()
        assert told.startswith("The budget “Each member, $0.10 a day” is nearly used up for Maya:")
        assert "$0.08 spent. The budget starts again on" in told

        reserve(a_need(CENT * 5, member_id=self.maya.pk))
        (told,) = self.told()
        assert "is used up for Maya: $0.08 spent. 1 request was refused." in told

    def test_a_budget_that_is_too_small_for_one_request_says_so(self):
        a_budget("0.10")
        reserve(a_need(CENT * 50))
        (told,) = self.told()
        assert "is too small for some requests: $0 spent. 1 request was refused." in told

    def test_what_many_members_have_used_up_hides_no_budget_of_the_team(self):
        a_budget("0.02", Scope.EACH_MEMBER)
        a_budget("0.51")
        for number in range(2, 27):
            member = Member.objects.create(telegram_id=number, name=f"Member {number}")
            need = a_need(CENT / 100, member_id=member.pk)
            reserve(need)
            settle(need, CENT * 2)
        team, members = self.told()
        assert "All calls on the team key" in team
        assert "is used up, or nearly, for Member 2, Member 3, Member 4 and 22 others." in members

    def test_a_budget_that_was_exceeded_is_told(self):
        a_budget("0.10")
        need = a_need(CENT * 5)
        reserve(need)
        settle(need, CENT * 15)
        (told,) = self.told()
        assert "has been exceeded: $0.15 spent." in told
