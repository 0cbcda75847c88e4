"""How a pipeline runs: read this first.

A run goes through its steps in order. Neighbouring parallel steps run together, a background step
is started and left to itself. Every step of every mode goes through the one `_run_step`: it asks
the context which provider the agent runs on, binds that provider to the step, and hands the agent
a view of the context that no other step can see or change.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from agents.base import AgentInput, AgentOutput
from agents.llm.base import StepScope
from agents.llm.errors import DeadlineExceeded, LLMError
from agents.llm.keys import scrub
from agents.registry import AgentRegistry
from pipeline import records
from pipeline.config import IMAGE_INPUT, PipelineConfig, StepConfig, StepMode
from pipeline.context import Decision, NoPurse, PipelineContext
from pipeline.models.runs import RunStatus, Source, StepStatus
from pipeline.records import finished

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class StepReport:
    """How one step went, for whoever asked for the run."""

    agent: str
    mode: StepMode
    status: StepStatus = StepStatus.RUNNING
    requested_model: str = ""
    served_model: str = ""
    purse: str = ""
    decision: str = ""
    cost_usd: Decimal | None = None
    latency_ms: int = 0
    error: str | None = None
    member_line: str = ""  # what a member may read of the error
    fell_back_to: str = ""


@dataclass(kw_only=True)
class RunReport:
    """How a run went; background steps may still be running in `steps`."""

    run_id: UUID
    pipeline: str
    status: RunStatus = RunStatus.RUNNING
    answer: str = ""
    steps: list[StepReport] = field(default_factory=list)


class StepSkipped(Exception):
    """A step's input is the result of a step that failed."""

    member_line = ""


class PipelineRunner:
    """Runs pipelines; one for a process, shared by all runs, without state of any run."""

    def __init__(
        self,
        registry: AgentRegistry,
        *,
        step_deadline_s: float,
        run_deadline_s: float = math.inf,
        alert: records.Alert = records.log_alert,
    ) -> None:
        self._registry = registry
        self._step_deadline_s = step_deadline_s
        self._run_deadline_s = run_deadline_s
        self._alert = alert
        self._background: set[asyncio.Task[None]] = set()

    async def run(
        self,
        pipeline: PipelineConfig,
        ctx: PipelineContext,
        *,
        source: Source,
        member_id: int | None = None,
        on_stage: Callable[[str], None] | None = None,
    ) -> RunReport:
        """Run the pipeline and return when all but its background steps have ended.

        A foreground step has what is left of the run's time, at most a step's own.
        `on_stage` is told the title of each agent that starts in the foreground; it must not block.

        Raises:
            OverridesUnknown: the overrides have never been read; no step ran and nothing was
                recorded, so try again.
        """
        if ctx.model_config is not None:
            await ctx.model_config.get_all()
        report = RunReport(run_id=uuid4(), pipeline=pipeline.name)
        try:
            await finished(records.run_started(report.run_id, pipeline, ctx, source, member_id))
            await self._run_steps(pipeline, ctx, report, on_stage)
            report.answer = _answer(pipeline, ctx)
            report.status = RunStatus.OK if report.answer else RunStatus.FAILED
        except BaseException as error:
            is_cancelled = isinstance(error, asyncio.CancelledError)
            report.status = RunStatus.CANCELLED if is_cancelled else RunStatus.FAILED
            raise
        finally:
            await finished(records.run_ended(report.run_id, report.status, report.answer))
        return report

    async def drain(self) -> None:
        """Wait until the background steps that are running now have ended."""
        await asyncio.gather(*self._background, return_exceptions=True)

    async def close(self, within_s: float) -> None:
        """Wait for the background steps; after `within_s` seconds cancel what still runs."""
        if self._background:
            _, late = await asyncio.wait(self._background, timeout=within_s)
            for task in late:
                task.cancel()
            await self.drain()

    async def _run_steps(
        self,
        pipeline: PipelineConfig,
        ctx: PipelineContext,
        report: RunReport,
        on_stage: Callable[[str], None] | None,
    ) -> None:
        run_ends_at = time.monotonic() + self._run_deadline_s
        for mode, group in pipeline.groups():
            # Nobody waits for a background step, so the run's end is not its own.
            ends_at = math.inf if mode is StepMode.BACKGROUND else run_ends_at
            steps = [
                _StepRun(position, step, self._open(report, step), ends_at)
                for position, step in group
            ]
            if mode is StepMode.BACKGROUND:
                self._start_background(report.run_id, steps[0], ctx)
                continue
            async with asyncio.TaskGroup() as running:
                for step in steps:
                    self._tell(on_stage, step.config.agent)
                    running.create_task(self._run_step(report.run_id, step, ctx))

    # --- one step -------------------------------------------------------------------------------

    async def _run_step(self, run_id: UUID, step: _StepRun, ctx: PipelineContext) -> None:
        """Run one step of any mode; its failure ends in its report and in `ctx.results`."""
        started = time.monotonic()
        attempt = _Attempt()
        output, status = _failed(step, "cancelled"), StepStatus.CANCELLED
        try:
            output = await self._ask(run_id, step, ctx, attempt)
            status = StepStatus.OK if output.success else StepStatus.FAILED
            step.report.member_line = "" if output.success else LLMError.member_line
        except Exception as error:  # noqa: BLE001 - an agent is anybody's code: contain whatever it raises
            output, status = self._explain(step, error, attempt.decision)
        finally:
            ctx.results[step.config.agent] = output
            _complete(step.report, attempt, status, output, started)
            await finished(_record_end(run_id, step, attempt, status, output))

    async def _ask(
        self, run_id: UUID, step: _StepRun, ctx: PipelineContext, attempt: _Attempt
    ) -> AgentOutput:
        """Decide on the provider, write it down, and let the agent work on its own view."""
        agent_name = step.config.agent
        attempt.passages, image_b64 = _inputs(step.config, ctx)
        decision = attempt.decision = await ctx.decide(agent_name)
        attempt.opening = asyncio.ensure_future(
            records.step_started(run_id, step.position, step.config, attempt.passages, decision)
        )
        step_id = await finished(attempt.opening)
        deadline_s = min(self._step_deadline_s, max(0.0, step.ends_at - time.monotonic()))
        recorder = attempt.recorder = records.StepRecorder(step_id, agent_name, self._alert)
        llm = decision.llm.for_step(
            StepScope(
                agent=agent_name,
                step_id=str(step_id),
                observer=recorder,
                deadline_s=deadline_s,
            )
        )
        try:
            async with asyncio.timeout(deadline_s) as limit:
                return await self._registry.get(agent_name).run(
                    AgentInput(passages=attempt.passages, image_b64=image_b64), ctx.with_llm(llm)
                )
        except TimeoutError:
            if not limit.expired():
                raise  # the agent's own
            raise DeadlineExceeded(f"not done after {deadline_s:.1f} s") from None

    def _explain(
        self, step: _StepRun, error: Exception, decision: Decision | None
    ) -> tuple[AgentOutput, StepStatus]:
        """Turn an exception into the step's output, its words and, if need be, an alert."""
        agent = step.config.agent
        if isinstance(error, StepSkipped):
            return _failed(step, str(error)), StepStatus.SKIPPED
        step.report.member_line = getattr(error, "member_line", "") or LLMError.member_line
        text = scrub(f"{type(error).__name__}: {error}")
        if not isinstance(error, LLMError | NoPurse):
            logger.error("step %s failed: %s", agent, text, exc_info=error)
        if decision is not None and decision.is_override and isinstance(error, LLMError):
            self._alert(f"{agent}: the override's model {decision.llm.model_id} failed: {text}")
        return _failed(step, text), StepStatus.FAILED

    # --- around it ------------------------------------------------------------------------------

    def _start_background(self, run_id: UUID, step: _StepRun, ctx: PipelineContext) -> None:
        task = asyncio.create_task(self._run_step(run_id, step, ctx))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _open(self, report: RunReport, step: StepConfig) -> StepReport:
        opened = StepReport(agent=step.agent, mode=step.mode)
        report.steps.append(opened)
        return opened

    def _tell(self, on_stage: Callable[[str], None] | None, agent_name: str) -> None:
        if on_stage is not None:
            on_stage(self._registry.get(agent_name).title)


@dataclass(frozen=True, slots=True)
class _StepRun:
    """One step of one run."""

    position: int
    config: StepConfig
    report: StepReport
    ends_at: float  # monotonic: when the run's time is up


@dataclass(slots=True)
class _Attempt:
    """What a step came to know on its way, so that the record is right wherever it stopped."""

    passages: dict[str, Any] = field(default_factory=dict)
    decision: Decision | None = None
    opening: asyncio.Future[UUID] | None = None  # the row's id, also if nobody waited for it
    recorder: records.StepRecorder | None = None


def _inputs(step: StepConfig, ctx: PipelineContext) -> tuple[dict[str, Any], str | None]:
    """Return the step's passages and its picture.

    Raises:
        StepSkipped: a result that it needs is missing because that step failed.
    """
    passages: dict[str, Any] = {}
    image_b64: str | None = None
    for name, source in step.input_mapping.items():
        kind, _, rest = source.partition(".")
        if name == IMAGE_INPUT:
            image_b64 = ctx.image_b64
        elif kind == "ctx":
            passages[name] = getattr(ctx, rest)
        elif kind == "result":
            result = ctx.results.get(rest)
            if result is None or not result.success:
                raise StepSkipped(f"needs the result of {rest}, which failed")
            passages[name] = result.data
        else:
            passages[name] = source
    return passages, image_b64


def _answer(pipeline: PipelineConfig, ctx: PipelineContext) -> str:
    """Return the replies that make the answer; empty when the first of them is missing."""
    outputs = [ctx.results.get(agent) for agent in pipeline.answer]
    if outputs[0] is None or not outputs[0].success:
        return ""
    return "\n\n".join(output.reply for output in outputs if output and output.success)


def _failed(step: _StepRun, error: str) -> AgentOutput:
    return AgentOutput(agent=step.config.agent, success=False, error=error)


def _complete(
    report: StepReport, attempt: _Attempt, status: StepStatus, output: AgentOutput, started: float
) -> None:
    report.status = status
    report.error = output.error and scrub(output.error)
    report.latency_ms = round((time.monotonic() - started) * 1000)
    if attempt.decision is not None:
        report.requested_model = attempt.decision.llm.model_id
        report.purse = attempt.decision.llm.purse.value
        report.decision = attempt.decision.sentence
        if attempt.recorder is None or not attempt.recorder.has_called:
            # The sentence was written before the first call, and there was none.
            report.decision = f"was to run{report.decision.removeprefix('ran')}"
            if attempt.recorder is not None:
                attempt.recorder.has_told_so = True
    if attempt.recorder is not None:
        report.served_model = attempt.recorder.served_model
        report.cost_usd = attempt.recorder.cost_usd
        report.fell_back_to = attempt.recorder.fell_back_to
    if report.fell_back_to:
        report.decision += f"; that model failed, so {report.fell_back_to} answered on the same key"


async def _record_end(
    run_id: UUID, step: _StepRun, attempt: _Attempt, status: StepStatus, output: AgentOutput
) -> None:
    step_id = await (
        attempt.opening
        or records.step_started(
            run_id, step.position, step.config, attempt.passages, attempt.decision
        )
    )
    await records.step_ended(step_id, status, output, step.report.decision)
