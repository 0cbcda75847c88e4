"""The runner: executes the steps of a pipeline.

A run goes through its steps in order. Adjacent parallel steps run together; a background step is
started and not waited for. Steps of every mode go through `_run_step`: it asks the context which
provider the agent runs on, binds that provider to the step, and hands the agent a view of the
context that no other step can see or change.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from agents.base import AgentInput, AgentOutput
from agents.cancelling import end
from agents.llm.base import StepScope
from agents.llm.calls import ends_recorded
from agents.llm.causes import Operators
from agents.llm.errors import DeadlineExceeded, LLMError
from agents.llm.secrets import scrub
from agents.log_fields import log_as
from agents.registry import AgentRegistry
from pipeline import crashpoints
from pipeline.journal import records
from pipeline.journal.facts import RunRefused, StepEnd
from pipeline.journal.fencing import Lease, RunLease, Superseded
from pipeline.journal.reports import KeptRun, RunReport, StepReport
from pipeline.journal.sentences import sentence
from pipeline.journal.writer import writer_here
from pipeline.models.inbox import Task
from pipeline.models.runs import RunStatus, Source, StepMode, StepStatus
from pipeline.running.config import PipelineConfig, StepConfig, passage_tags
from pipeline.running.context import PipelineContext
from pipeline.running.decisions import Decision, NoPayer, failure_alert
from pipeline.running.model_book import ModelBook
from pipeline.running.step_inputs import StepSkipped, answer_of, inputs_of, opening_of
from pipeline.running.under_way import RunUnderWay, StepAttempt, StepUnderWay

logger = logging.getLogger(__name__)

NO_FAULT_OF_A_STEP = (RunRefused, Superseded, DatabaseError)
RECORDED_WITHIN_S = 1.0  # an unreachable database must not delay a shutdown


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The update that a run answers, and the fencing token of the attempt to answer it.

    A run with an origin is never lost: if interrupted, it stays open, and the next attempt
    resumes it.
    """

    update_id: int
    token: UUID
    admit: Callable[[], None] | None = None  # see `RunOpening`


class PipelineRunner:
    """Runs pipelines; one per process, shared by all runs, and keeps no state of a run."""

    def __init__(
        self,
        registry: AgentRegistry,
        *,
        step_deadline_s: float,
        run_deadline_s: float = math.inf,
        alert: records.NotifyOperators = records.log_alert,
        add_tasks: Callable[[Sequence[Task]], None] | None = None,
    ) -> None:
        """With `add_tasks`, runs that another worker may resume queue their background steps."""
        self._registry = registry
        self._tags = registry.tags | passage_tags()
        self._step_deadline_s = step_deadline_s
        self._run_deadline_s = run_deadline_s
        self._alert = alert
        self._add_tasks = add_tasks
        self._book = ModelBook()
        self._background: set[asyncio.Task[None]] = set()

    async def run(
        self,
        pipeline: PipelineConfig,
        ctx: PipelineContext,
        *,
        source: Source,
        member_id: int | None = None,
        origin: Origin | None = None,
        on_stage: Callable[[str], None] | None = None,
    ) -> RunReport:
        """Run the pipeline; return when all but its background steps have ended.

        A foreground step may take the time that is left for the run, at most the step's deadline.
        `on_stage` receives the title of each agent that starts in the foreground; it must not
        block.

        Raises:
            OverridesUnknown: the overrides have never been read; no step ran and nothing was
                recorded, so try again.
            RunRefused: the run may not begin (`Origin.admit`).
            Superseded: another worker has taken the run over.
        """
        if ctx.model_config is not None:
            await ctx.model_config.get_all()
        run = RunUnderWay(
            pipeline=pipeline,
            ctx=ctx,
            lease=RunLease(uuid4(), origin.token if origin else uuid4()),
            is_kept_open=origin is not None,
            on_stage=on_stage,
        )
        opening = opening_of(pipeline, ctx, source, member_id=member_id)
        if origin is not None:
            opening = replace(opening, update_id=origin.update_id, admit=origin.admit)
        run.journal.run_started(run.lease, opening)
        return await self._conclude(run)

    async def resume(
        self,
        kept: KeptRun,
        ctx: PipelineContext,
        token: UUID,
        *,
        on_stage: Callable[[str], None] | None = None,
    ) -> RunReport:
        """Resume a run that a crash or a restart interrupted; raises as `run`."""
        run = RunUnderWay(
            pipeline=PipelineConfig.model_validate_json(kept.definition),
            ctx=ctx,
            lease=RunLease(kept.report.run_id, token),
            is_kept_open=True,
            on_stage=on_stage,
            kept={step.report.position: step.report for step in kept.steps},
        )
        ctx.results.update({step.report.agent: step.output for step in kept.steps})
        return await self._conclude(run)

    async def run_background_step(
        self,
        pipeline: PipelineConfig,
        position: int,
        ctx: PipelineContext,
        run_id: UUID,
        lease: Lease,
    ) -> StepReport:
        """Run one background step for the queue; raises Superseded."""
        config = pipeline.steps[position]
        report = StepReport(agent=config.agent, mode=config.mode, position=position)
        step = StepUnderWay(position, config, report, math.inf, lease, records.RunJournal())
        await self._run_step_alone(run_id, step, ctx)
        crashpoints.reach("background step ended")
        return report

    async def drain(self) -> None:
        """Wait until the background steps that are running now have ended."""
        await asyncio.gather(*self._background, return_exceptions=True)

    async def close(self, within_s: float) -> None:
        """Wait for the background steps; cancel those left after `within_s` seconds."""
        if self._background:
            _, late = await asyncio.wait(self._background, timeout=within_s)
            await end(late, RECORDED_WITHIN_S)
        await ends_recorded()
        await writer_here().flush(RECORDED_WITHIN_S)

    async def _conclude(self, run: RunUnderWay) -> RunReport:
        """Run the remaining steps and close the run; if interrupted, a resumable run stays open."""
        log_as(run=run.lease.run_id)
        report = run.report
        try:
            await self._run_steps(run)
            report.answer = answer_of(run.pipeline, run.ctx)
            report.status = RunStatus.OK if report.answer else RunStatus.FAILED
        except BaseException as error:
            is_cancelled = isinstance(error, asyncio.CancelledError)
            report.status = RunStatus.CANCELLED if is_cancelled else RunStatus.FAILED
            if not run.is_kept_open:
                run.journal.run_ended(run.lease, report.status)
            await run.journal.flush()
            raise
        run.journal.run_ended(run.lease, report.status, report.answer)
        await run.journal.barrier()
        return report

    async def _run_steps(self, run: RunUnderWay) -> None:
        ends_at = time.monotonic() + self._run_deadline_s
        for mode, group in run.pipeline.groups():
            if mode is StepMode.BACKGROUND:
                self._start_background(run, *group[0])
                continue
            steps = [
                StepUnderWay(
                    position, step, run.open(position, step), ends_at, run.lease, run.journal
                )
                for position, step in group
                if position not in run.kept
            ]
            try:
                async with asyncio.TaskGroup() as running:
                    for step in steps:
                        self._tell(run.on_stage, step.config.agent)
                        running.create_task(
                            self._run_step(run.lease.run_id, step, run.ctx),
                            name=f"step {step.config.agent}",
                        )
            except ExceptionGroup as errors:
                no_fault_of_a_step = errors.subgroup(NO_FAULT_OF_A_STEP)
                if no_fault_of_a_step is not None:
                    raise _first(no_fault_of_a_step) from None
                raise
            crashpoints.reach("foreground step ended")

    # --- one step -------------------------------------------------------------------------------

    async def _run_step_alone(self, run_id: UUID, step: StepUnderWay, ctx: PipelineContext) -> None:
        """Run a step that no other step or answer follows; return once its record is durable."""
        try:
            await self._run_step(run_id, step, ctx)
        except BaseException:
            await step.journal.flush()
            raise
        await step.journal.barrier()

    async def _run_step(self, run_id: UUID, step: StepUnderWay, ctx: PipelineContext) -> None:
        """Run one step of any mode; its failure is put in its report and in `ctx.results`."""
        started = time.monotonic()
        attempt = StepAttempt(error_type="cancelled")
        output, status = _failed(step, "cancelled"), StepStatus.CANCELLED
        try:
            output = await self._ask(run_id, step, ctx, attempt)
            status = StepStatus.OK if output.success else StepStatus.FAILED
            attempt.error_type = ""
            step.report.member_line = "" if output.success else LLMError.member_line
        except NO_FAULT_OF_A_STEP:
            raise  # not the step's failure: the next attempt at the run repeats it
        except Exception as error:  # noqa: BLE001 - an agent may raise anything: contain it
            attempt.error_type = type(error).__name__
            output, status = self._explain(step, error, attempt)
        finally:
            ctx.results[step.config.agent] = output
            _complete(step.report, attempt, status, output, started)
            self._record_end(run_id, step, attempt, status, output)

    async def _ask(
        self, run_id: UUID, step: StepUnderWay, ctx: PipelineContext, attempt: StepAttempt
    ) -> AgentOutput:
        """Choose the provider, record it, and run the agent on its own view of the context."""
        agent_name = step.config.agent
        inputs = inputs_of(step.config, ctx)
        attempt.inputs = inputs.as_record()
        decisions: list[Decision] = []
        chosen = await ctx.get_llm_for_agent(agent_name, tell=decisions.append)
        (decision,) = decisions
        attempt.decision = decision
        attempt.row = step.journal.step_started(
            step.lease, run_id, step.place, attempt.inputs, decision.choice
        )
        if step.config.mode is StepMode.BACKGROUND:
            await step.journal.barrier()  # only then is the id of a queued step known
        step_id = attempt.row.id
        log_as(run=run_id, step=step_id)
        deadline_s = min(self._step_deadline_s, max(0.0, step.ends_at - time.monotonic()))
        opened = step.opened(run_id, step_id, deadline_s)
        recorder = attempt.recorder = records.StepRecorder(step.journal, opened, self._alert)
        needs = self._registry.get(agent_name).needs
        llm = chosen.for_step(
            StepScope(
                agent=agent_name,
                step_id=str(step_id),
                observer=recorder,
                deadline_s=deadline_s,
                least_output_tokens=needs.least_output_tokens,
                most_output_tokens=needs.most_output_tokens,
                book=self._book,
            )
        )
        try:
            async with asyncio.timeout(deadline_s) as limit:
                return await self._registry.get(agent_name).run(
                    AgentInput(
                        passages=inputs.passages,
                        task=inputs.task,
                        tags=self._tags,
                        image_b64=inputs.image_b64,
                    ),
                    ctx.with_llm(llm),
                )
        except TimeoutError:
            if not limit.expired():
                raise  # raised by the agent itself
            raise DeadlineExceeded(f"not done after {deadline_s:.1f} s") from None

    def _explain(
        self, step: StepUnderWay, error: Exception, attempt: StepAttempt
    ) -> tuple[AgentOutput, StepStatus]:
        """Turn an exception into the step's output, status, member text and, if due, an alert."""
        agent, decision = step.config.agent, attempt.decision
        if isinstance(error, StepSkipped):
            return _failed(step, str(error)), StepStatus.SKIPPED
        step.report.member_line = getattr(error, "member_line", "") or LLMError.member_line
        text = scrub(f"{type(error).__name__}: {error}")
        if not isinstance(error, LLMError | NoPayer):
            logger.error("step %s failed: %s", agent, text, exc_info=error)
        is_told = isinstance(error, LLMError) and error.handling.operators is not Operators.NOTHING
        if decision is not None and decision.is_override and is_told:
            attempt.alert = failure_alert(agent, decision, text, timezone.now())
            if settings.OPERATOR_CHAT_ID:  # without a chat, the alert is only logged
                step.report.member_line += " Your admins have been told."
        return _failed(step, text), StepStatus.FAILED

    def _record_end(
        self,
        run_id: UUID,
        step: StepUnderWay,
        attempt: StepAttempt,
        status: StepStatus,
        output: AgentOutput,
    ) -> None:
        choice = attempt.decision.choice if attempt.decision else None
        row = attempt.row or step.journal.step_started(
            step.lease, run_id, step.place, attempt.inputs, choice
        )
        end = StepEnd(
            status=status,
            output=output,
            decision=step.report.decision,
            has_called=attempt.has_called if choice else None,
            fell_back_to=step.report.fell_back_to,
            error_type=attempt.error_type,
            member_line=step.report.member_line,
        )
        written = step.journal.step_ended(row, step.lease.token, end)
        if attempt.recorder is not None:
            attempt.recorder.step_was_closed()
        if attempt.alert:
            records.told_when_recorded(written, self._alert, attempt.alert)

    # --- around a step --------------------------------------------------------------------------

    def _start_background(self, run: RunUnderWay, position: int, config: StepConfig) -> None:
        """Start a background step; the run ends without waiting for it."""
        report = run.open(position, config)
        if self._add_tasks is not None and run.is_kept_open:
            report.status = StepStatus.WAITING
            run.journal.step_queued(run.lease, config.at(position), self._add_tasks)
            return
        step = StepUnderWay(position, config, report, math.inf, run.lease, run.journal)
        work = self._run_step_alone(run.lease.run_id, step, run.ctx)
        task = asyncio.create_task(work, name=f"background step {config.agent}")
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _tell(self, on_stage: Callable[[str], None] | None, agent_name: str) -> None:
        if on_stage is not None:
            on_stage(self._registry.get(agent_name).title)


def _first(errors: BaseExceptionGroup[Exception]) -> Exception:
    error: Exception | BaseExceptionGroup[Exception] = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _failed(step: StepUnderWay, error: str) -> AgentOutput:
    return AgentOutput(agent=step.config.agent, success=False, error=error)


def _complete(
    report: StepReport,
    attempt: StepAttempt,
    status: StepStatus,
    output: AgentOutput,
    started: float,
) -> None:
    report.status = status
    report.error = output.error and scrub(output.error)
    report.latency_ms = round((time.monotonic() - started) * 1000)
    attempt.has_called = attempt.recorder is not None and attempt.recorder.has_called
    if attempt.decision is not None:
        report.requested_model = attempt.decision.llm.model_id
        report.payer = attempt.decision.llm.payer.value
        report.decision = sentence(
            attempt.decision.choice,
            has_called=attempt.has_called,
            fell_back_to=attempt.recorder.fell_back_to if attempt.recorder else "",
        )
    if attempt.recorder is not None:
        report.served_model = attempt.recorder.served_model
        report.upstream = attempt.recorder.upstream
        report.cost_usd = attempt.recorder.cost_usd
        report.fell_back_to = attempt.recorder.fell_back_to
