"""The one promise: the model chosen for an agent is the model that ran, on the right key.

OBSERVATORY_PROVE=1 plays at least 20,000 steps (10 minutes), and
OBSERVATORY_SEED=n plays the same scenes again.
"""

from __future__ import annotations

import os
import random
from typing import Any

from asgiref.sync import async_to_sync
from hypothesis import HealthCheck, Phase, given, seed, settings

from agents.base import AgentOutput
from agents.llm.base import LLMProvider
from pipeline.models.runs import StepMode
from pipeline.running.context import PipelineContext
from pipeline.running.runner import PipelineRunner
from tests.pipeline.cases import SandboxCase, member_llm
from tests.pipeline.isolation import Stage, Tally
from tests.pipeline.scenes import SCENES, Cast, Change, Scene
from tests.pipeline.verdict import Overrides
from tests.proving import amount, closing_line

SCENE_COUNT, MIN_STEPS = (
    amount(40, quickly=12, proving=1_400),
    amount(200, quickly=50, proving=20_000),
)
SEED = int(os.environ.get("OBSERVATORY_SEED") or random.randrange(10**6))

TOGETHER = Scene(
    before=(Change(agent="agent-a", model_id="anthropic/claude-sonnet-4.5"),),
    casts=(
        Cast(
            steps=(
                ("agent-a", StepMode.PARALLEL, "call nap call"),
                ("agent-b", StepMode.PARALLEL, "nap call call"),
                ("agent-c", StepMode.BACKGROUND, "call long-nap call"),
                ("agent-d", StepMode.SEQUENTIAL, "call"),
            ),
            default_model="openai/gpt-4.1",
        ),
    ),
)


PLAYED_AGAIN = 10  # which steps meet is chance


class SwappingRunner(PipelineRunner):
    """The tempting mistake: swap the provider of the shared context, restore it afterwards."""

    async def _run_step(self, run_id: Any, step: Any, ctx: PipelineContext) -> None:
        before = ctx.default_llm
        try:
            await super()._run_step(run_id, step, _Swapping.of(ctx))
        finally:
            object.__setattr__(ctx, "default_llm", before)


class _Swapping(PipelineContext):
    @classmethod
    def of(cls, ctx: PipelineContext) -> PipelineContext:
        object.__setattr__(ctx, "__class__", cls)  # the very same object, in another role
        return ctx

    def with_llm(self, llm: LLMProvider) -> PipelineContext:
        object.__setattr__(self, "default_llm", llm)
        return self


class IsolationTests(SandboxCase):
    def test_no_step_ever_runs_on_another_ones_model_or_key(self):
        tally, overrides = Tally(), Overrides()

        @seed(SEED)
        @settings(
            max_examples=SCENE_COUNT,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # shrinking would play for minutes; the wrongs say enough
            suppress_health_check=list(HealthCheck),
        )
        @given(SCENES)
        def every_scene_is_right(scene: Scene) -> None:
            stage = Stage(overrides, self.wire, tally)
            assert async_to_sync(stage.play)(scene) == []

        every_scene_is_right()

        assert tally.steps >= MIN_STEPS
        closing_line(
            f"\nisolation: {tally.steps} steps, {tally.runs} runs, {tally.calls} calls,"
            f" {tally.looks} looks at contexts, wrong=0, seed={SEED}\n"
        )

    async def test_the_same_comparison_catches_a_runner_that_swaps_and_restores(self):
        right = Stage(Overrides(), self.wire, Tally())
        assert await right.play(TOGETHER) == []

        wrong = Stage(right.overrides, self.wire, Tally(), runner_class=SwappingRunner)
        found = ""
        for _ in range(PLAYED_AGAIN):
            found += "\n".join(await wrong.play(TOGETHER))
            if "spoke through the provider of" in found:
                break

        assert "spoke through the provider of" in found
        assert "its own provider changed" in found

    async def test_a_context_hands_out_views_that_share_results_and_nothing_else(self):
        ctx = PipelineContext(default_llm=None)
        view = ctx.with_llm(member_llm("openai/gpt-4.1"))
        other = ctx.with_llm(member_llm("openai/gpt-5-mini"))

        view.results["agent-a"] = AgentOutput(agent="agent-a", success=True)

        assert ctx.results == other.results == view.results
        assert (view.llm.model_id, other.llm.model_id) == ("openai/gpt-4.1", "openai/gpt-5-mini")
        assert ctx.default_llm is view.default_llm is None
