"""A full step: the override looked up, the model called, the answer parsed, every row durable.

A step's time is what lies between two steps of a run of four: the agent's start is told to
`on_stage`. With 50 at once whole runs of three steps are counted, their own rows included.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import sys
import time

from django.core.management import call_command
from django.db import connection

from agents.llm.router import create_provider
from agents.model_config import service_from_settings
from agents.models import AgentModelConfig
from agents.registry import AgentRegistry
from agents.team.strategist import StrategistAgent
from bench.ours.filling import fill
from bench.peers.laps import ALONE, TOGETHER, Figures, at_once, serve
from bench.peers.work import KEY, MESSAGE, MODEL
from pipeline.models import Budget, LLMCall, Reservation
from pipeline.models.budgets import Scope
from pipeline.models.runs import CallStatus, RunStatus, Source, StepMode
from pipeline.running.config import PipelineConfig, StepConfig
from pipeline.running.context import PipelineContext
from pipeline.running.runner import PipelineRunner

STEPS = 3


class Bench:
    """Runs on an override, on the database and the stand-in that the environment names."""

    def __init__(self, *, has_budgets: bool) -> None:
        call_command("migrate", verbosity=0)
        Budget.objects.all().delete()
        if has_budgets:
            Budget.objects.create(scope=Scope.SHARED_KEY, cap_usd=999_999)
            Budget.objects.create(scope=Scope.AGENT, name="strategist", cap_usd=999_999)
        AgentModelConfig.objects.upsert("strategist", MODEL, "bench")
        self._numbers = itertools.count()
        self._service = service_from_settings()
        self._runner = PipelineRunner(AgentRegistry([StrategistAgent()]), step_deadline_s=60)
        self._default = create_provider("openrouter", KEY, "openai/not-this-one")

    async def run(self, steps: int = STEPS, started: list[float] | None = None) -> None:
        """Do a run of so many steps; noted is when each of them began."""
        step = StepConfig(
            agent="strategist",
            mode=StepMode.SEQUENTIAL,
            input_mapping={"message": "ctx.user_message"},
        )
        ctx = PipelineContext(
            default_llm=self._default,
            model_config=self._service,
            user_message=f"{MESSAGE} {next(self._numbers)}",
        )
        report = await self._runner.run(
            PipelineConfig(
                name="bench", title="Bench", answer=("strategist",), steps=(step,) * steps
            ),
            ctx,
            source=Source.SHELL,
            on_stage=None if started is None else lambda _: started.append(time.perf_counter()),
        )
        assert report.status is RunStatus.OK, report

    async def measured(self, alone: int, together: int) -> Figures:
        """Return a step's time, and how many a second there are at 50 at once."""
        took_us: list[float] = []
        while len(took_us) < alone:
            started: list[float] = []
            await self.run(STEPS + 1, started)  # nobody tells when the last one ended
            took_us += [(after - before) * 1e6 for before, after in itertools.pairwise(started)]
        counted = await at_once(self.run, together // STEPS, weight=STEPS)
        return {"p50_us": statistics.median(took_us), **counted}

    def close(self) -> None:
        """See that what was measured is what is promised: each call on record, on its model."""
        of_bench = LLMCall.objects.filter(step__run__pipeline="bench")
        good = of_bench.filter(status=CallStatus.OK, served_model=MODEL, is_mismatch=False)
        assert 0 < good.count() == of_bench.count()
        assert set(of_bench.values_list("requested_model", "payer")) == {(MODEL, "shared")}
        budgets = Budget.objects.count()
        assert Reservation.objects.filter(state="booked").count() == budgets * of_bench.count()
        self._service.close()
        connection.close()


def main() -> None:
    """Take part in the contest, in an installation that is filled as the command line says."""
    bench = Bench(has_budgets="budgets" in sys.argv[3:])
    fill(**json.loads(sys.argv[2]))
    with asyncio.Runner() as loop:
        loop.run(bench.measured(ALONE // 10, TOGETHER // 10))
        serve(lambda: loop.run(bench.measured(ALONE, TOGETHER)), "Django")
    bench.close()
