"""The ground for tests of runs: a sandbox, real overrides, real records and what was alerted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from django.test import TransactionTestCase, override_settings

from agents.base import BaseAgent
from agents.llm.base import LLMProvider, Payer
from agents.llm.http import close_clients
from agents.llm.router import create_provider
from agents.model_config import ModelConfigService
from agents.models import AgentModelConfig
from agents.registry import AgentRegistry
from pipeline.journal.reports import RunReport
from pipeline.models import LLMCall, PipelineRun, StepRun
from pipeline.models.runs import Source
from pipeline.running.config import PipelineConfig
from pipeline.running.context import PipelineContext
from pipeline.running.runner import PipelineRunner
from tests.canaries import MEMBER_KEY, SHARED_KEY
from tests.made_up_agents import ANYWAY, made_up
from tests.pipeline.wire import POLL_INTERVAL_S, WAIT_S, Wire
from tests.sandbox.serving import running_sandbox

MEMBER_MODEL = "openai/gpt-4.1"
FALLBACK_MODEL = "openai/gpt-4o-mini"


class SandboxCase(TransactionTestCase):
    """A test whose model providers are the sandbox."""

    sandbox_url: str

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.sandbox_url = cls.enterClassContext(running_sandbox())
        cls.enterClassContext(
            override_settings(
                OPENROUTER_BASE_URL=f"{cls.sandbox_url}/openrouter/api/v1",
                ANTHROPIC_BASE_URL=f"{cls.sandbox_url}/anthropic",
                OPENAI_BASE_URL=f"{cls.sandbox_url}/openai",
                OPENROUTER_API_KEY=SHARED_KEY,
                DEFAULT_MODEL=FALLBACK_MODEL,
                DEFAULT_MODELS={
                    "openrouter": FALLBACK_MODEL,
                    "claude": "claude-haiku-4-5",
                    "openai": "gpt-4.1-mini",
                },
            )
        )

    def setUp(self) -> None:
        self.wire = Wire(self.sandbox_url)
        self.wire.clear()


class PipelineCase(SandboxCase):
    """A test that runs pipelines of its own agents."""

    def setUp(self) -> None:
        super().setUp()
        self.alerts: list[str] = []
        self.service = self.resolver(SHARED_KEY)

    def resolver(self, shared_key: str | None) -> ModelConfigService:
        """Return a resolver that has read nothing yet, so that it knows what was just set."""
        service = ModelConfigService(shared_key, default_model=FALLBACK_MODEL)
        self.addCleanup(service.close)
        return service

    def runner(
        self,
        agents: Iterable[BaseAgent],
        step_deadline_s: float = 10.0,
        run_deadline_s: float = 60.0,
    ) -> PipelineRunner:
        return PipelineRunner(
            AgentRegistry(agents),
            step_deadline_s=step_deadline_s,
            run_deadline_s=run_deadline_s,
            alert=self.alerts.append,
        )

    def context(self, **changes: Any) -> PipelineContext:
        """Return the context of a member with a key of their own."""
        return PipelineContext(
            **{"default_llm": member_llm(), "model_config": self.service, **changes}
        )

    async def play(
        self,
        pipeline: PipelineConfig,
        agents: Iterable[BaseAgent],
        ctx: PipelineContext | None = None,
        *,
        step_deadline_s: float = 10.0,
        run_deadline_s: float = 60.0,
        on_stage: Callable[[str], None] | None = None,
    ) -> RunReport:
        """Run a pipeline to the end of its background steps."""
        runner = self.runner(agents, step_deadline_s, run_deadline_s)
        try:
            report = await runner.run(
                pipeline, ctx or self.context(), source=Source.SHELL, on_stage=on_stage
            )
            await runner.drain()
        finally:
            await close_clients()
        return report


def member_llm(model_id: str = MEMBER_MODEL, key: str = MEMBER_KEY) -> LLMProvider:
    return create_provider("openrouter", key, model_id, payer=Payer.MEMBER)


async def override(agent: str, model_id: str, **changes: Any) -> AgentModelConfig:
    return await AgentModelConfig.objects.aupsert(
        made_up(agent), model_id, changes.pop("set_by", "olga"), **ANYWAY | changes
    )


async def run_row() -> PipelineRun:
    return await PipelineRun.objects.select_related("user_message", "answer", "background").aget()


async def step_rows() -> dict[str, StepRun]:
    """Return the step runs of all runs by agent."""
    rows = StepRun.objects.select_related("inputs", "output").order_by("position")
    return {row.agent: row async for row in rows}


async def call_rows(**of: Any) -> list[LLMCall]:
    rows = LLMCall.objects.filter(**of).select_related(
        "step", "system_prompt", "user_message", "output"
    )
    return [row async for row in rows.order_by("started_at")]


async def until(condition: Callable[[], Awaitable[object]], within_s: float = WAIT_S) -> None:
    """Wait until an async condition holds.

    Raises:
        AssertionError: it did not in time.
    """
    deadline = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < deadline, "what was waited for never came"
        await asyncio.sleep(POLL_INTERVAL_S)
