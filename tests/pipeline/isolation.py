"""The stage of the proof of isolation: plays a scene with real runs, and compares.

What the comparison is, and why the agents mark their prompts, is in `tests.pipeline.verdict`.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import suppress
from dataclasses import dataclass, field

from asgiref.sync import sync_to_async

from agents.base import AgentContext, AgentInput, AgentOutput, BaseAgent
from agents.llm.base import LLMProvider, Payer
from agents.llm.errors import LLMError
from agents.llm.http import close_clients
from agents.llm.router import create_provider
from agents.model_config import ModelConfigService
from agents.registry import AgentRegistry
from pipeline.journal.writer import writer_here
from pipeline.models.runs import Source
from pipeline.running.config import PipelineConfig, StepConfig
from pipeline.running.context import PipelineContext
from pipeline.running.decisions import NoPayer
from pipeline.running.runner import RECORDED_WITHIN_S, PipelineRunner
from tests.canaries import SHARED_KEY, canary
from tests.pipeline.players import player
from tests.pipeline.scenes import AGENTS, PAUSES_S, Cast, Change, Scene
from tests.pipeline.verdict import (
    FALLBACK_MODEL,
    Comparison,
    Overrides,
    Plan,
    Records,
    forget_records,
)
from tests.pipeline.wire import Wire

# More than ever run at once, so that no two runs of a moment share one.
MEMBER_KEYS = [canary(f"sk-or-v1-CANARYisolation{n:04d}0123456789abcdef") for n in range(16)]
STEP_DEADLINE_S = 10.0

_numbers = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run as it was planned, with the context it was given."""

    mark: str
    plan: Plan
    config: PipelineConfig
    ctx: PipelineContext
    default: LLMProvider | None

    @classmethod
    def of(cls, cast: Cast, model_config: ModelConfigService) -> Run:
        number = next(_numbers)
        mark = f"run {number}"
        is_shared = cast.payer is Payer.SHARED
        key = SHARED_KEY if is_shared else MEMBER_KEYS[number % len(MEMBER_KEYS)]
        default = (
            create_provider("openrouter", key, cast.default_model, payer=cast.payer)
            if cast.default_model
            else None
        )
        steps = tuple(
            StepConfig(
                agent=agent,
                mode=mode,
                input_mapping={"mark": f"{mark}, step {position}", "script": script},
            )
            for position, (agent, mode, script) in enumerate(cast.steps)
        )
        return cls(
            mark=mark,
            plan=Plan(cast=cast, key=key),
            config=PipelineConfig(name=mark, title=mark, answer=(steps[0].agent,), steps=steps),
            ctx=PipelineContext(default_llm=default, model_config=model_config, user_message=mark),
            default=default,
        )


@dataclass(slots=True)
class Tally:
    """How much has been seen."""

    runs: int = 0
    steps: int = 0
    calls: int = 0
    looks: int = 0

    def add(self, runs: int, steps: int, calls: int) -> None:
        self.runs += runs
        self.steps += steps
        self.calls += calls


@dataclass(slots=True)
class Stage:
    """Where one scene is played, and what its agents noticed."""

    overrides: Overrides
    wire: Wire
    tally: Tally
    runner_class: type[PipelineRunner] = PipelineRunner
    wrong: list[str] = field(default_factory=list)
    _runs: dict[str, Run] = field(default_factory=dict)
    _kept: list[tuple[AgentContext, str]] = field(default_factory=list)
    _views: dict[str, LLMProvider] = field(default_factory=dict)

    async def play(self, scene: Scene) -> list[str]:
        """Play the scene and return, in words, everything that was wrong."""
        await sync_to_async(forget_records)()
        await asyncio.to_thread(self.wire.clear)
        for change in scene.before:
            await self.overrides.make(change)
        began_with = self.overrides.version
        service = ModelConfigService(SHARED_KEY, default_model=FALLBACK_MODEL)
        runner = self.runner_class(
            AgentRegistry(self._agent(name) for name in AGENTS),
            step_deadline_s=STEP_DEADLINE_S,
            alert=lambda text: None,
        )
        try:
            for cast in scene.casts:
                run = Run.of(cast, service)
                self._runs[run.mark] = run
            async with asyncio.TaskGroup() as everything:
                for run in self._runs.values():
                    everything.create_task(self._run(runner, run))
                everything.create_task(self._change(scene.during))
                everything.create_task(self._use_what_was_kept(scene.late_ms))
            await runner.close(within_s=scene.closing_ms / 1000)
            await self._use_what_was_kept(0)
            await writer_here().flush(within_s=RECORDED_WITHIN_S)
        finally:
            await close_clients()
            await asyncio.to_thread(service.close)
        for run in self._runs.values():
            self._look(run, "at the end")
        seen = await asyncio.to_thread(self.wire.calls)
        records = await sync_to_async(Records.read)()
        self.tally.add(len(self._runs), len(records.steps), len(seen))
        comparison = Comparison(
            seen=seen,
            records=records,
            plans={mark: run.plan for mark, run in self._runs.items()},
            overrides=self.overrides,
            began_with=began_with,
        )
        self.wrong += comparison.wrongs()
        return self.wrong

    async def _run(self, runner: PipelineRunner, run: Run) -> None:
        running = asyncio.create_task(runner.run(run.config, run.ctx, source=Source.SHELL))
        if run.plan.cast.cancelled_after_ms is not None:
            await asyncio.sleep(run.plan.cast.cancelled_after_ms / 1000)
            running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    async def _change(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            await asyncio.sleep(change.after_ms / 1000)
            await self.overrides.make(change)

    async def _use_what_was_kept(self, after_ms: int) -> None:
        await asyncio.sleep(after_ms / 1000)
        while self._kept:
            ctx, mark = self._kept.pop()
            with suppress(LLMError):
                await _ask(ctx, mark)

    def _look(self, run: Run, when: str) -> None:
        """Notice a run whose own provider is not the one that it was given."""
        self.tally.looks += 1
        try:
            llm: LLMProvider | None = run.ctx.llm
        except NoPayer:
            llm = None
        if llm is not run.default:
            self.wrong.append(f"{run.mark}: its own provider changed {when}")

    # --- the agents ---------------------------------------------------------------------------

    def _agent(self, name: str) -> BaseAgent:
        async def play(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            mark, script = agent_input.passages["mark"], agent_input.passages["script"]
            for part in script.split():
                self._look_from_inside(ctx, mark, part)
                if part == "refuse":
                    return AgentOutput(agent=name, success=False, error="I would rather not.")
                if part == "keep":
                    self._kept.append((ctx, mark))
                else:
                    await _act(part, ctx, mark)
                self._look_from_inside(ctx, mark, part)
            return AgentOutput(agent=name, success=True, data={"mark": mark}, reply=mark)

        return player(name, play)

    def _look_from_inside(self, ctx: AgentContext, mark: str, part: str) -> None:
        self._look(self._runs[mark.partition(",")[0]], f"around {part!r} of {mark}")
        if self._views.setdefault(mark, ctx.llm) is not ctx.llm:
            self.wrong.append(f"{mark}: the provider of its view changed around {part!r}")


async def _act(part: str, ctx: AgentContext, mark: str) -> None:
    match part:
        case "yield" | "nap" | "long-nap":
            await asyncio.sleep(random.uniform(0, PAUSES_S[part]))
        case "call":
            await _ask(ctx, mark)
        case "hold":
            llm = ctx.llm
            await asyncio.sleep(0.002)
            await llm.complete("You hold on to things.", mark)
        case "child":
            await asyncio.create_task(_ask(ctx, mark))
        case "both":
            await asyncio.gather(_ask(ctx, mark), _ask(ctx, mark))
        case "drop":
            dropped = asyncio.create_task(_ask(ctx, mark))
            await asyncio.sleep(random.uniform(0, 0.01))
            dropped.cancel()
            with suppress(asyncio.CancelledError):
                await dropped
        case "cancel-child":
            child = asyncio.create_task(asyncio.sleep(1))
            child.cancel()
            await child  # the agent's own CancelledError, while nobody cancels the step
        case "raise":
            raise ValueError(f"{mark} has had enough")
        case _:
            raise AssertionError(part)


async def _ask(ctx: AgentContext, mark: str) -> None:
    await ctx.llm.complete("You take part in a play.", mark)
