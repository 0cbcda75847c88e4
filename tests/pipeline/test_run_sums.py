"""A run's sums are those of its calls, also where another release has not kept them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from asgiref.sync import async_to_sync
from django.test import TestCase
from django.utils import timezone

from pipeline.models import LLMCall, PeriodicJob, PipelineRun
from pipeline.models.inbox import Buttons
from pipeline.operations import periodic_jobs, run_sums
from tests.pipeline.recorded import a_run

FIGURES = ("cost_usd", "has_mismatch", "has_fallback")
HOUR = timedelta(hours=1)


async def told(text: str, buttons: Buttons = (), *, is_news: bool = False) -> bool:
    raise AssertionError(text)


class RunSumsTests(TestCase):
    def figures_of(self, run: PipelineRun) -> tuple[object, ...]:
        return tuple(PipelineRun.objects.values_list(*FIGURES).get(pk=run.pk))

    def test_what_says_otherwise_than_its_calls_is_mended_and_the_rest_left_alone(self):
        unkept, kept, free = a_run({}, {}), a_run({}), a_run({})
        for run in (unkept, kept):
            LLMCall.objects.filter(step__run=run).update(cost_usd=Decimal("0.1"), is_fallback=True)
        LLMCall.objects.filter(step__run=free).update(cost_usd=None)
        PipelineRun.objects.filter(pk=unkept.pk).update(cost_usd=Decimal("0.1"))
        PipelineRun.objects.filter(pk=kept.pk).update(cost_usd=Decimal("0.1"), has_fallback=True)
        PipelineRun.objects.filter(pk=free.pk).update(cost_usd=Decimal("7"), has_mismatch=True)

        assert run_sums.mend(timezone.now() - HOUR) == 2
        assert self.figures_of(unkept) == (Decimal("0.2"), False, True)
        assert self.figures_of(kept) == (Decimal("0.1"), False, True)
        assert self.figures_of(free) == (None, False, False)
        assert run_sums.mend(timezone.now() - HOUR) == 0

    def test_the_job_looks_back_to_its_last_turn_and_an_hour_before(self):
        (spec,) = (spec for spec in periodic_jobs.JOBS if spec.name == periodic_jobs.RUN_SUMS)
        now = timezone.now()
        async_to_sync(periodic_jobs.run_if_due)(spec, now - 5 * HOUR, told)
        older, newer = a_run(hours_ago=7), a_run(hours_ago=5.5)
        for run in (older, newer):
            LLMCall.objects.filter(step__run=run).update(
                cost_usd=Decimal("0.3"), started_at=run.started_at
            )
            PipelineRun.objects.filter(pk=run.pk).update(cost_usd=None)
        with self.assertLogs("pipeline.operations.periodic_jobs", "WARNING"):
            async_to_sync(periodic_jobs.run_if_due)(spec, now, told)

        assert [self.figures_of(run)[0] for run in (older, newer)] == [None, Decimal("0.3")]
        assert PeriodicJob.objects.get(name=spec.name).last_result["mended"] == 1
