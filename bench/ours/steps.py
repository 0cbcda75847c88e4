"""A full step: the override looked up, the model called, the answer parsed, three rows durable.

A step's time is what lies between two steps of a run of four: the agent's start is told to
`on_stage`. With 50 at once whole runs of three steps are counted, their own rows included.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time

from django.core.management import call_command
from django.db import connection

from agents.llm.router import create_provider
from agents.model_config import ModelConfigService, service_from_settings
from agents.models import AgentModelConfig
from agents.registry import AgentRegistry
from agents.team.strategist import StrategistAgent
from bench.peers.laps import ALONE, LANES, TOGETHER, Figures, at_once, serve
from bench.peers.work import KEY, MESSAGE, MODEL
from pipeline.config import PipelineConfig, StepConfig, StepMode
from pipeline.context import PipelineContext
from pipeline.models import LLMCall
from pipeline.models.runs import CallStatus, RunStatus, Source, StepRun
from pipeline.runner import PipelineRunner

STEPS = 3
numbers = itertools.count()


def main() -> None:
    """Take part in the contest on the database that the environment names."""
    call_command("migrate", verbosity=0)
    AgentModelConfig.objects.upsert("strategist", MODEL, "bench")
    service = service_from_settings()
    runner = PipelineRunner(AgentRegistry([StrategistAgent()]), step_deadline_s=60)

    async def measured(alone: int, together: int) -> Figures:
        took_us: list[float] = []
        while len(took_us) < alone:
            took_us += await _steps_us(runner, service)
        counted = await at_once(lambda: _run(runner, service), together // STEPS, weight=STEPS)
        return {"p50_us": statistics.median(took_us), **counted}

    with asyncio.Runner() as loop:
        loop.run(measured(10, LANES * STEPS))
        serve(lambda: loop.run(measured(ALONE, TOGETHER)), "Django")
    _check()
    service.close()


async def _steps_us(runner: PipelineRunner, service: ModelConfigService) -> list[float]:
    """Return the microseconds of the steps of a run but the last, whose end nobody tells."""
    started: list[float] = []
    await _run(runner, service, steps=STEPS + 1, started=started)
    return [(after - before) * 1e6 for before, after in itertools.pairwise(started)]


async def _run(
    runner: PipelineRunner,
    service: ModelConfigService,
    steps: int = STEPS,
    started: list[float] | None = None,
) -> None:
    step = StepConfig(
        agent="strategist",
        mode=StepMode.SEQUENTIAL,
        input_mapping={"message": "ctx.user_message"},
    )
    ctx = PipelineContext(
        default_llm=create_provider("openrouter", KEY, "openai/not-this-one"),
        model_config=service,
        user_message=f"{MESSAGE} {next(numbers)}",
    )
    report = await runner.run(
        PipelineConfig(name="bench", title="Bench", answer=("strategist",), steps=(step,) * steps),
        ctx,
        source=Source.SHELL,
        on_stage=None if started is None else lambda _: started.append(time.perf_counter()),
    )
    assert report.status is RunStatus.OK, report


def _check() -> None:
    """See that what was measured is what is promised: every call on record, on the right model."""
    calls = LLMCall.objects.filter(status=CallStatus.OK, requested_model=MODEL, is_mismatch=False)
    assert calls.count() == LLMCall.objects.count() == StepRun.objects.count() > 0
    connection.close()
