"""Runs of three steps that ask no model and leave no record: what is left is the runner itself.

All that it does for isolation is there: the resolver is asked for each step, and each agent gets a
view of the context that is bound to its own provider.
"""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.management import call_command

from agents.base import AgentContext, AgentInput, AgentOutput, BaseAgent
from agents.llm.router import create_provider
from agents.model_config import service_from_settings
from agents.models import AgentModelConfig
from agents.registry import AgentRegistry
from bench.peers.laps import serve_runs
from bench.peers.work import KEY, MESSAGE, MODEL
from pipeline.journal import records
from pipeline.models.runs import Source, StepMode
from pipeline.running.config import PipelineConfig, StepConfig
from pipeline.running.context import PipelineContext
from pipeline.running.runner import PipelineRunner

AGENTS = ("extraction", "strategist", "trainer")


class Silent(BaseAgent):
    """Answers by itself."""

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]
        self.title = name  # type: ignore[misc]
        self.system_prompt = ""

    async def run(self, agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
        assert ctx.llm.model_id == MODEL
        return AgentOutput(agent=self.name, success=True, data={"text": "done"}, reply="done")


def main() -> None:
    """Take part in the contest."""
    call_command("migrate", verbosity=0)
    for agent in AGENTS:
        AgentModelConfig.objects.upsert(agent, MODEL, "bench")
    for name in ("_add", "_add_lasting"):
        setattr(records.RunJournal, name, _unrecorded)
    service = service_from_settings()
    runner = PipelineRunner(AgentRegistry(map(Silent, AGENTS)), step_deadline_s=60)
    steps = tuple(
        StepConfig(
            agent=agent,
            mode=StepMode.SEQUENTIAL,
            input_mapping={"message": "ctx.user_message"},
        )
        for agent in AGENTS
    )
    pipeline = PipelineConfig(name="bench", title="Bench", answer=AGENTS[-1:], steps=steps)
    default = create_provider("openrouter", KEY, "openai/not-this-one")

    async def run() -> None:
        ctx = PipelineContext(default_llm=default, model_config=service, user_message=MESSAGE)
        report = await runner.run(pipeline, ctx, source=Source.SHELL)
        assert report.answer == "done"

    with asyncio.Runner() as loop:
        serve_runs(loop, run, "Django")
    service.close()


def _unrecorded(*_: Any, **__: Any) -> asyncio.Future[Any]:
    recorded = asyncio.get_running_loop().create_future()
    recorded.set_result(None)
    return recorded
