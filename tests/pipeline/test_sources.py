"""What runs may do because of where they came from: each rule, by what follows from it."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from decimal import Decimal
from unittest.mock import patch
from uuid import uuid4

from django.test import TestCase
from django.utils import timezone

from agents.base import AgentOutput
from agents.snapshot import read_snapshot
from observatory.dashboard.agents_now import agents_now
from observatory.dashboard.change import change
from pipeline.journal import hooks, rows
from pipeline.journal.facts import StepEnd, StepRow
from pipeline.models import Member, PipelineRun, StepRun
from pipeline.models.runs import RunStatus, Source, StepStatus
from pipeline.models.sources import SOURCES, Rules, sources_where
from pipeline.operations import usage
from pipeline.people import erasure, limits
from tests.agents.catalog.listing import row as listed
from tests.pipeline.recorded import MODEL, a_run, a_step

NAMES = [each.name for each in fields(Rules)]
COST = Decimal("0.0005")  # of a recorded call


class SourceTests(TestCase):
    def setUp(self) -> None:
        self.now = timezone.now()

    def test_every_source_has_its_rules_and_every_rule_is_a_decision(self):
        assert set(SOURCES) == set(Source)
        for source in Source:
            for name in NAMES:
                with self.subTest(source=source, rule=name):
                    assert isinstance(getattr(SOURCES[source], name), bool)
                    assert (source in sources_where(name)) == getattr(SOURCES[source], name)

    def test_what_counts_for_a_members_limits(self):
        for number, source in enumerate(Source):
            maya = Member.objects.create(telegram_id=number)
            a_run(member=maya, source=source)
            counts = SOURCES[source].counts_for_limits

            with self.subTest(source):
                assert limits.runs_within_an_hour(maya, now=self.now) == counts
                erasure.erase(maya, now=self.now)
                maya.refresh_from_db()
                assert maya.forgotten_usd == (COST if counts else 0)

    def test_what_is_traffic_and_that_costs_always_count(self):
        for closed in (False, True):
            for source in Source:
                PipelineRun.objects.all().delete()
                run = a_run(source=source, hours_ago=3)
                if closed:
                    while usage.close_hours(self.now):
                        pass
                found = list(usage.rollups(run.started_at, now=self.now))
                counted = usage.total(found)
                usage.reopen(run.started_at)

                with self.subTest(source=source, closed=closed):
                    is_traffic = SOURCES[source].is_traffic
                    assert (counted.steps, counted.calls) == ((1, 1) if is_traffic else (0, 0))
                    assert sum(counted.step_times.values()) == is_traffic
                    assert counted.cost_usd == COST
                    assert counted.other_cost_usd == (0 if is_traffic else COST)
                    assert counted.other_input_tokens == (0 if is_traffic else 100)

    def test_trials_and_reruns_leave_the_forecast_and_the_times_as_they_were(self):
        listed(MODEL)
        a_run({"agent": "strategist"}, hours_ago=30)
        a_run({"agent": "strategist"})

        def shown() -> tuple[object, ...]:
            [row] = [r for r in agents_now(read_snapshot(), now=self.now) if r.name == "strategist"]
            forecast = change("strategist", MODEL, now=self.now)
            assert forecast is not None
            forecast = replace(forecast, last_trial=None)  # shown beside it, and no part of it
            return forecast, row.p50_ms, row.p95_ms, row.totals.steps, row.totals.mismatches

        before = shown()
        others = [source for source in Source if not SOURCES[source].is_traffic]
        for source in others * 10:
            run = a_run({"agent": "strategist", "calls": 0}, source=source)
            a_step(run, 1, ended_at=self.now + timedelta(hours=1), status=StepStatus.FAILED)

        assert len(others) == 2
        assert shown() == before

    def test_what_memory_and_exercises_learn_from(self):
        for source in Source:
            learnt: list[StepRun] = []
            run = a_run({"calls": 0}, source=source)
            token = uuid4()
            StepRun.objects.update(status=StepStatus.RUNNING, attempt_token=token, ended_at=None)
            step = StepRun.objects.get(run=run)
            row = StepRow(agent="extraction", started_at=step.started_at, is_of_new_run=False)
            row.id = step.pk
            output = AgentOutput(agent="extraction", success=True)
            with patch.dict(hooks._learners, {"extraction": lambda s, _, to=learnt: to.append(s)}):
                rows.close_step(row, token, StepEnd(status=StepStatus.OK, output=output), self.now)

            with self.subTest(source):
                assert bool(learnt) == SOURCES[source].learns

    def test_what_is_closed_if_nothing_resumes_it(self):
        for source in Source:
            a_run({"calls": 0}, source=source, hours_ago=5, status=RunStatus.RUNNING)

        rows.close_orphans()

        for source in Source:
            with self.subTest(source):
                # A run that answers an update has no open task here.
                rules = SOURCES[source]
                is_closed = rules.answers_update or not rules.is_resumed
                status = RunStatus.INTERRUPTED if is_closed else RunStatus.RUNNING
                assert PipelineRun.objects.get(source=source).status == status
