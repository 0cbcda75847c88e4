"""What was run and what it cost, hour by hour: sums that miss nothing and count nothing twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import time_machine
from django.test import TestCase

from agents.base import AgentOutput
from agents.llm.base import Outcome
from agents.llm.completion import Completion, CostSource, Usage
from pipeline.journal import call_rows, rows
from pipeline.journal.facts import StepEnd, StepRow
from pipeline.journal.text_store import grouped
from pipeline.models import ClosedPeriod, LLMCall, PipelineRun, StepRun, UsageRollup
from pipeline.models.operations import Period
from pipeline.models.runs import CallStatus, RunStatus, StepStatus
from pipeline.operations import usage
from pipeline.operations.aggregates import PER_DOUBLING, percentile_ms

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def close_all(now: datetime) -> int:
    return sum(iter(lambda: usage.close_hours(now), 0))


class UsageCase(TestCase):
    def step(self, started_at: datetime, **fields) -> StepRun:
        run = PipelineRun.objects.create(
            pipeline="support", source="shell", status=RunStatus.OK, started_at=started_at
        )
        took = fields.pop("took", timedelta(milliseconds=800))
        given = {
            "agent": "strategist",
            "mode": "sequential",
            "status": StepStatus.OK,
            "requested_model": "openai/gpt-5-mini",
            "payer": "shared",
            "ended_at": started_at + took,
        }
        return StepRun.objects.create(
            run=run, position=0, started_at=started_at, **(given | fields)
        )

    def call(self, step: StepRun, **fields) -> LLMCall:
        given = {
            "number": 1,
            "status": CallStatus.OK,
            "provider": "openrouter",
            "requested_model": step.requested_model,
            "payer": step.payer,
            "key_fingerprint": "…0001",
            "cost_usd": Decimal("0.000333825001"),
            "input_tokens": 100,
            "output_tokens": 20,
            "started_at": step.started_at,
        }
        return LLMCall.objects.create(step=step, **(given | fields))

    def sums(
        self, now: datetime, since: timedelta = DAY, **options
    ) -> dict[str, usage.UsageTotals]:
        found: dict[str, usage.UsageTotals] = {}
        for key, totals in usage.rollups(now - since, now=now, **options):
            found.setdefault(key.agent, usage.UsageTotals()).add(totals)
        return found


class AddingUpTest(UsageCase):
    def test_an_open_hour_is_added_up_to_its_last_call(self):
        step = self.step(NOON)
        self.call(step)
        self.call(step, number=2, status=CallStatus.ERROR, cost_usd=None)

        totals = self.sums(NOON + timedelta(minutes=5))["strategist"]

        assert (totals.steps, totals.calls, totals.failed_calls) == (1, 2, 1)
        assert (totals.cost_usd, totals.tokens) == (Decimal("0.000333825001"), 240)

    def test_dollars_agree_to_the_last_decimal(self):
        step = self.step(NOON)
        for number in range(300):
            self.call(step, number=number, cost_usd=Decimal("0.100000000001"))

        assert self.sums(NOON)["strategist"].cost_usd == Decimal("30.000000000300")
        usage.close_hours(NOON + 3 * HOUR)
        assert self.sums(NOON + 3 * HOUR)["strategist"].cost_usd == Decimal("30.000000000300")

    def test_a_call_on_another_model_than_its_steps_is_that_models(self):
        step = self.step(NOON)
        self.call(step, status=CallStatus.ERROR, cost_usd=None)
        self.call(step, number=2, requested_model="x/fallback", is_fallback=True)

        found = {key.model_id: totals for key, totals in usage.rollups(NOON, now=NOON)}

        assert found["openai/gpt-5-mini"].steps == 1
        assert found["openai/gpt-5-mini"].cost_usd == 0
        assert found["x/fallback"].fallbacks == 1
        assert found["x/fallback"].cost_usd == Decimal("0.000333825001")

    def test_a_step_that_has_not_ended_is_not_counted_yet(self):
        self.step(NOON, status=StepStatus.RUNNING, ended_at=None)

        assert self.sums(NOON) == {}

    def test_a_call_that_may_have_cost_something_unknown_is_told(self):
        step = self.step(NOON)
        self.call(step, status=CallStatus.UNKNOWN, cost_usd=None)
        self.call(step, number=2, status=CallStatus.ERROR, cost_usd=None)

        assert self.sums(NOON)["strategist"].unpriced_calls == 1

    def test_cut_and_mended_answers_are_counted_in_open_and_in_closed_hours(self):
        step = self.step(NOON - 3 * HOUR, was_repaired=True)
        self.call(step, status=CallStatus.UNKNOWN, is_cut=True)
        self.call(step, number=2)
        before = self.sums(NOON)["strategist"]
        close_all(NOON)

        assert (before.cut_answers, before.mended_answers) == (1, 1)
        assert self.sums(NOON)["strategist"] == before

    def test_percentiles_are_right_within_five_percent(self):
        for ms in range(100, 2100, 100):
            self.step(NOON, took=timedelta(milliseconds=ms))

        times = self.sums(NOON)["strategist"].step_times

        for share, exact_ms in ((0.5, 1000), (0.95, 1900)):
            told_ms = percentile_ms(times, share)
            assert told_ms is not None
            assert abs(told_ms - exact_ms) <= exact_ms * (2 ** (1 / PER_DOUBLING) - 1) / 2 + 1
        assert percentile_ms({}, 0.5) is None


class ClosingTest(UsageCase):
    def test_sums_are_the_same_before_and_after_hours_and_days_are_closed(self):
        for hours in range(60):
            step = self.step(NOON - hours * HOUR, agent=f"agent-{hours % 3}")
            self.call(step, is_mismatch=hours % 7 == 0)
        before = self.sums(NOON, 10 * DAY)

        closed = close_all(NOON)

        assert closed == 58  # all but this hour and the one before
        assert self.sums(NOON, 10 * DAY) == before
        assert self.sums(NOON, 10 * DAY, in_days=True) == before
        assert UsageRollup.objects.filter(period=Period.DAY).exists()

    def test_a_closed_hour_is_read_from_its_row(self):
        self.call(self.step(NOON - 5 * HOUR))
        close_all(NOON)
        StepRun.objects.all().delete()  # nothing is left to be added up

        assert self.sums(NOON)["strategist"].calls == 1

    def test_closing_twice_counts_once(self):
        self.call(self.step(NOON - 5 * HOUR))
        close_all(NOON)

        assert usage.close_hours(NOON) == 0
        assert self.sums(NOON)["strategist"].calls == 1

    def test_nothing_is_closed_before_anything_was_run(self):
        assert usage.close_hours(NOON) == 0
        assert list(usage.rollups(NOON - DAY, now=NOON)) == []


class LateTest(UsageCase):
    """What ends after its hour was closed opens it again, so that it is counted."""

    def setUp(self):
        self.token = uuid4()
        self.late = self.step(
            NOON - 30 * HOUR, status=StepStatus.RUNNING, ended_at=None, attempt_token=self.token
        )
        self.call(self.late, status=CallStatus.RUNNING, cost_usd=None)
        self.step(NOON - 5 * HOUR)
        with time_machine.travel(NOON, tick=False):
            close_all(NOON)
        assert self.sums(NOON, 3 * DAY)["strategist"].steps == 1

    def seen_again(self) -> usage.UsageTotals:
        before = self.sums(NOON, 3 * DAY, in_days=True)["strategist"]
        close_all(NOON)
        after = self.sums(NOON, 3 * DAY, in_days=True)["strategist"]
        assert before == after
        return after

    def test_a_call_that_is_completed_late(self):
        outcome = Outcome(
            completion=Completion(
                text="hello",
                served_model="openai/gpt-5-mini",
                usage=Usage(input_tokens=7, output_tokens=1),
                cost_usd=Decimal("0.5"),
                cost_source=CostSource.REPORTED,
                finish_reason="stop",
                latency_ms=5,
            ),
            latency_ms=5,
            http_status=200,
        )
        with time_machine.travel(NOON, tick=False):
            call = self.late.calls.get()
            call_rows.complete_call(self.late.run_id, call.pk, outcome, mismatch=False)

        assert self.seen_again().cost_usd == Decimal("0.5")

    def test_a_step_that_is_interrupted_late(self):
        with time_machine.travel(NOON, tick=False):
            grouped(rows.interrupt)(StepRun.objects.filter(pk=self.late.pk))

        assert (self.seen_again().steps, self.seen_again().failed_calls) == (2, 1)

    def test_a_step_that_is_closed_late(self):
        with time_machine.travel(NOON, tick=False):
            output = AgentOutput(agent="strategist", success=True)
            end = StepEnd(status=StepStatus.OK, output=output)
            row = StepRow(id=self.late.pk, agent=self.late.agent, started_at=self.late.started_at)
            rows.close_step(row, self.token, end, NOON)

        assert self.seen_again().steps == 2

    def test_what_ends_in_time_opens_nothing(self):
        with time_machine.travel(NOON, tick=False):
            usage.reopen(NOON - timedelta(minutes=20))

        assert ClosedPeriod.objects.filter(period=Period.HOUR).count() == 29


class WrongClockTest(UsageCase):
    """Machines' clocks differ: nothing that was spent vanishes from the sums."""

    def setUp(self) -> None:
        self.call(self.step(NOON - 5 * HOUR))

    def calls_counted(self, now: datetime) -> set[int]:
        """Return the calls that each way of summing counts."""
        found = (self.sums(now, 3 * DAY, in_days=in_days) for in_days in (False, True))
        return {totals["strategist"].calls for totals in found}

    def test_hours_that_a_clock_ahead_has_closed_are_summed_to_their_last_call(self):
        close_all(NOON + 2 * DAY)  # for a minute, it was ahead
        self.call(self.step(NOON))
        assert self.calls_counted(NOON) == {2}

        close_all(NOON + timedelta(minutes=1))
        self.call(self.step(NOON + HOUR))

        for hours in (2, 5, 48):
            with self.subTest(hours=hours):
                now = NOON + hours * HOUR
                close_all(now)
                assert self.calls_counted(now) == {3}
        assert usage.audit(NOON + 2 * DAY) == []

    def test_while_one_clock_stays_ahead_nothing_is_lost(self):
        for minutes in range(0, 360, 20):
            now = NOON + timedelta(minutes=minutes)
            close_all(now + HOUR)  # by the process whose clock is ahead
            self.call(self.step(now))
            close_all(now)

            assert self.calls_counted(now) == {2 + minutes // 20}

    def test_what_a_clock_behind_puts_into_a_closed_hour_is_found_at_night(self):
        close_all(NOON + DAY)
        self.call(self.step(NOON - HOUR))  # it does not know that this hour is closed
        assert self.calls_counted(NOON + DAY) == {1}

        assert usage.audit(NOON + DAY) == [NOON - HOUR]
        assert self.calls_counted(NOON + DAY) == {2}
        close_all(NOON + DAY)

        assert self.calls_counted(NOON + DAY) == {2}
        assert usage.audit(NOON + DAY) == []

    def test_sums_that_another_release_wrote_without_a_column_are_found_at_night(self):
        run = self.step(NOON - HOUR).run
        self.call(run.steps.get())
        PipelineRun.objects.filter(pk=run.pk).update(source="trial")
        close_all(NOON + DAY)
        UsageRollup.objects.update(other_cost_usd=0)

        assert usage.audit(NOON + DAY) == [NOON - HOUR]
