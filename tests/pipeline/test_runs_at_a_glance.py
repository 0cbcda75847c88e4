"""What the row of a run says of its calls: right after each call, however often that is written."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.db import connection
from django.test import TestCase, TransactionTestCase

from agents.llm.base import Outcome
from agents.llm.completion import Completion, CostSource, Usage
from agents.models import OnFailure
from pipeline.journal.call_rows import complete_call
from pipeline.models import LLMCall, PipelineRun
from tests.pipeline.cases import PipelineCase, call_rows, override, run_row
from tests.pipeline.players import asking, pipeline, step
from tests.pipeline.recorded import a_call, a_run, a_step


def answered(cost_usd: str | None) -> Outcome:
    completion = Completion(
        text="Yes.",
        served_model="openai/gpt-5-mini",
        usage=Usage(input_tokens=1, output_tokens=1),
        cost_usd=None if cost_usd is None else Decimal(cost_usd),
        cost_source=CostSource.REPORTED,
        finish_reason="stop",
        latency_ms=5,
    )
    return Outcome(completion=completion, http_status=200, latency_ms=5)


def running_call(run: PipelineRun, position: int = 0) -> LLMCall:
    step = a_step(run, position, calls=0)
    return a_call(step, status="running", cost_usd=None, latency_ms=None)


def run_without_steps() -> PipelineRun:
    run = a_run()
    run.steps.all().delete()
    return run


class AtAGlanceTests(TestCase):
    def test_a_run_costs_what_its_calls_cost_also_when_an_end_is_written_twice(self):
        run = run_without_steps()
        calls = [running_call(run, position) for position in range(3)]
        costs = ("0.000000000001", "0.25", None)

        for call, cost in zip(calls, costs, strict=True):
            for _ in range(2):
                complete_call(run.pk, call.pk, answered(cost), mismatch=False)

        run.refresh_from_db()
        assert run.cost_usd == Decimal("0.250000000001")
        assert (run.has_mismatch, run.has_fallback) == (False, False)

    def test_a_cost_that_nobody_told_is_unknown_and_not_nothing(self):
        run = run_without_steps()

        complete_call(run.pk, running_call(run).pk, answered(None), mismatch=False)

        run.refresh_from_db()
        assert run.cost_usd is None

    def test_what_another_model_served_is_marked_and_other_runs_are_not(self):
        run, other = run_without_steps(), run_without_steps()
        complete_call(other.pk, running_call(other).pk, answered("0.1"), mismatch=False)

        complete_call(run.pk, running_call(run).pk, answered("0.1"), mismatch=True)
        complete_call(run.pk, running_call(run, 1).pk, answered("0.1"), mismatch=False)

        marks = {row.pk: row.has_mismatch for row in PipelineRun.objects.all()}
        assert marks == {run.pk: True, other.pk: False}

    def test_a_call_whose_rows_are_no_longer_kept_is_nobodys(self):
        run = run_without_steps()
        call, run_id = running_call(run), run.pk
        run.delete()

        complete_call(run_id, call.pk, answered("0.1"), mismatch=False)

        assert not LLMCall.objects.exists()

    def test_runs_from_before_are_summed_up_by_the_migration_in_batches(self):
        migration: Any = import_module("pipeline.migrations.0009_runs_at_a_glance")
        runs = [run_without_steps() for _ in range(5)]
        for number, run in enumerate(runs[:4]):
            step = a_step(run, calls=0)
            for _ in range(2):
                a_call(step, cost_usd=f"0.{number + 1}", is_mismatch=number == 1)
            a_call(step, cost_usd=None, is_fallback=number == 2)
        migration.BATCH = 2

        migration.sum_up(apps, None)

        rows = [PipelineRun.objects.get(pk=run.pk) for run in runs]
        wanted = [*(Decimal(cost) for cost in ("0.2", "0.4", "0.6", "0.8")), None]
        assert [row.cost_usd for row in rows] == wanted
        assert [row.has_mismatch for row in rows] == [False, True, False, False, False]
        assert [row.has_fallback for row in rows] == [False, False, True, False, False]


class RealCallsTests(PipelineCase):
    async def test_retries_and_calls_side_by_side_are_all_counted(self):
        await self.play(pipeline(step("one"), step("two")), [asking("one", times=3), asking("two")])

        calls = await call_rows()
        assert len(calls) == 4
        assert (await run_row()).cost_usd == sum(call.cost_usd or 0 for call in calls)

    async def test_another_model_and_a_fallback_are_marked(self):
        await override("one", "sandbox/other-model")
        await override("two", "sandbox/retired", on_failure=OnFailure.DEFAULT_MODEL)

        await self.play(pipeline(step("one"), step("two")), [asking("one"), asking("two")])

        run = await run_row()
        assert (run.has_mismatch, run.has_fallback) == (True, True)


@pytest.mark.postgresql
class AtOnceTests(TransactionTestCase):
    """Several workers write to one run."""

    async def test_of_calls_that_end_at_once_none_is_left_out(self):
        run = await sync_to_async(run_without_steps)()
        calls = [await sync_to_async(running_call)(run, n) for n in range(3)]

        def complete(call: LLMCall) -> None:
            try:
                complete_call(run.pk, call.pk, answered("0.1"), mismatch=False)
            finally:
                connection.close()

        for _ in range(10):
            await PipelineRun.objects.aupdate(cost_usd=None)
            await LLMCall.objects.aupdate(cost_usd=None)
            await asyncio.gather(*(asyncio.to_thread(complete, call) for call in calls))
            await run.arefresh_from_db()
            assert run.cost_usd == Decimal("0.3")
