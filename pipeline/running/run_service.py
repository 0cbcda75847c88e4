"""The service that answers messages: opens and closes resolver, runner and process report."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from uuid import UUID

import stamina
from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils import timezone

from agents.base import Inputs
from agents.llm.http import close_clients
from agents.model_config import OverridesUnknown, service_from_settings
from agents.process_report import ProcessReport
from agents.registry import default_registry
from pipeline.journal import records, resumption, traces
from pipeline.journal.facts import ModelChoice
from pipeline.journal.fencing import RunLease, TaskLease
from pipeline.journal.reports import KeptRun, RunReport
from pipeline.models import Member, PeriodicJob, StepRun
from pipeline.models.inbox import Task
from pipeline.models.runs import RunStatus, Source
from pipeline.models.sources import rules_of
from pipeline.people import limits
from pipeline.running.briefing import brief, brief_kept, default_provider
from pipeline.running.config import PipelineConfig, load_pipeline
from pipeline.running.context import PipelineContext
from pipeline.running.decisions import NoPayer
from pipeline.running.runner import Origin, PipelineRunner

OVERRIDES_WITHIN_S = 30.0  # a restarting database is back by then
# Bounds of the time for sending the last traces at a stop, whatever time is left.
MAX_FOR_TRACES_S, MIN_FOR_TRACES_S = 3.0, 0.3

OnStage = Callable[[str], None]


class RunService:
    """Answers messages by running pipelines; one per process."""

    def __init__(
        self,
        role: str,
        alert: records.NotifyOperators = records.log_alert,
        add_tasks: Callable[[Sequence[Task]], None] | None = None,
    ) -> None:
        self.model_config = service_from_settings()
        self._report = ProcessReport(
            self.model_config,
            role,
            on_stale=partial(PeriodicJob.hasten, PeriodicJob.ALERTS),
            on_new=_hasten_change_jobs,
        )
        self._alert = alert
        self._registry = default_registry()
        self._runner = PipelineRunner(
            self._registry,
            step_deadline_s=settings.STEP_DEADLINE_SECONDS,
            run_deadline_s=settings.RUN_DEADLINE_SECONDS,
            alert=alert,
            add_tasks=add_tasks,
        )

    def start(self) -> None:
        """Start to watch the overrides and to report their version; `close` ends both.

        Raises:
            RuntimeError: no event loop is running.
        """
        loop = asyncio.get_running_loop()
        self.model_config.watch(lambda text: _alert_from_thread(loop, self._alert, text))
        self._report.start()

    async def __aenter__(self) -> RunService:
        self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close(within_s=settings.DRAIN_SECONDS)

    async def answer(
        self,
        pipeline_name: str,
        member: Member | None,
        question: Inputs,
        *,
        origin: Origin | None = None,
        on_stage: OnStage | None = None,
    ) -> RunReport:
        """Run a pipeline on a member's question; without `origin` it came from the shell.

        Raises:
            UnknownPipeline: there is no pipeline of that name.
            NoPayer: a step has no payer; nothing was run.
            LimitReached: the member wrote in Telegram and has to wait; nothing was run.
            OverridesUnknown: the overrides could not be read for 30 s; nothing was run.
            Superseded: another worker has taken over the update in `origin`.
        """
        pipeline = load_pipeline(pipeline_name)
        if member is not None and origin is not None:
            await sync_to_async(limits.check)(member, now=timezone.now())
            origin = replace(origin, admit=partial(limits.admit, member.pk))
        ctx = await sync_to_async(brief)(pipeline, member, question, model_config=self.model_config)
        await self._know_overrides()
        if ctx.default_llm is None:
            # Check all steps before the first call: half a run costs money and answers nothing.
            for step in pipeline.steps:
                await ctx.decide(step.agent)
        return await self._runner.run(
            pipeline,
            ctx,
            source=Source.TELEGRAM if origin else Source.SHELL,
            member_id=member.pk if member else None,
            origin=origin,
            on_stage=on_stage,
        )

    async def decisions(self, member: Member) -> dict[str, ModelChoice | NoPayer]:
        """Return, by agent name, the model it would use for this member now, or why it has none.

        Raises:
            OverridesUnknown: the overrides could not be read for 30 s.
        """
        await self._know_overrides()
        ctx = PipelineContext(
            default_llm=await sync_to_async(default_provider)(member),
            model_config=self.model_config,
        )
        found: dict[str, ModelChoice | NoPayer] = {}
        for agent in self._registry:
            try:
                found[agent.name] = (await ctx.decide(agent.name)).choice
            except NoPayer as error:
                found[agent.name] = error
        return found

    async def resume(
        self, lease: TaskLease, update_id: int, member: Member, *, on_stage: OnStage
    ) -> RunReport | None:
        """Resume the run of an update and return its report; None if the update has no run.

        Raises:
            OverridesUnknown, Superseded: as `answer`.
        """
        kept = await sync_to_async(resumption.take_over)(update_id, lease)
        if kept is None or kept.is_over:
            return kept.report if kept else None
        await self._know_overrides()
        return await self._runner.resume(
            kept, await self._context_of(kept, member), lease.token, on_stage=on_stage
        )

    async def stop(self, lease: TaskLease, update_id: int) -> None:
        """Close the run of an update as cancelled, because its member stopped it."""
        kept = await sync_to_async(resumption.take_over)(update_id, lease)
        if kept is not None and not kept.is_over:
            await _cancelled(RunLease(kept.report.run_id, lease.token))

    async def run_background_step(self, step_id: UUID, lease: TaskLease) -> None:
        """Run a queued background step, unless it has ended already.

        Raises:
            OverridesUnknown, Superseded: as `answer`.
        """
        step = await StepRun.objects.select_related("run__member").aget(pk=step_id)
        if await sync_to_async(resumption.has_ended)(step):
            return  # the worker died after the step ended, before it could tell the queue
        kept = await sync_to_async(resumption.read_back)(step.run_id)
        await self._know_overrides()
        may = rules_of(step.run.source).may_use_members_key
        member = step.run.member if may else None
        ctx = await self._context_of(kept, member)
        ctx.results.update({kept_step.report.agent: kept_step.output for kept_step in kept.steps})
        pipeline = PipelineConfig.model_validate_json(kept.definition)
        await self._runner.run_background_step(pipeline, step.position, ctx, step.run_id, lease)

    async def rerun(self, run_id: UUID, lease: TaskLease) -> None:
        """Run a queued rerun, or the rest of it, on the team key.

        Raises:
            OverridesUnknown, Superseded: as `answer`.
        """
        kept = await sync_to_async(resumption.take_over_rerun)(run_id, lease)
        if kept is None or kept.is_over:
            return
        if kept.inputs == Inputs():  # the inputs were erased while it was queued
            await _cancelled(RunLease(run_id, lease.token))
            return
        await self._know_overrides()
        await self._runner.resume(kept, await self._context_of(kept, None), lease.token)

    async def drain(self) -> None:
        """Wait until the background steps that are running now have ended."""
        await self._runner.drain()

    async def close(self, within_s: float) -> None:
        """Wait up to `within_s` for background steps, then close clients, threads and report."""
        ends_at = time.monotonic() + within_s
        await self._runner.close(within_s)
        await close_clients()
        await asyncio.to_thread(self._report.close)
        await asyncio.to_thread(self.model_config.close)
        left_s = max(MIN_FOR_TRACES_S, ends_at - time.monotonic())
        await asyncio.to_thread(traces.close, min(left_s, MAX_FOR_TRACES_S))

    async def _context_of(self, kept: KeptRun, member: Member | None) -> PipelineContext:
        return await sync_to_async(brief_kept)(kept, member, model_config=self.model_config)

    async def _know_overrides(self) -> None:
        async for attempt in stamina.retry_context(
            on=OverridesUnknown, attempts=None, timeout=OVERRIDES_WITHIN_S, wait_max=2.0
        ):
            with attempt:
                await self.model_config.get_all()


def _hasten_change_jobs() -> None:
    """Make the jobs due that tell others of changes of the overrides: the chat and the webhook."""
    PeriodicJob.hasten(PeriodicJob.CHANGES)
    PeriodicJob.hasten(PeriodicJob.WEBHOOK)


def _alert_from_thread(
    loop: asyncio.AbstractEventLoop, alert: records.NotifyOperators, text: str
) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(alert, text)


async def _cancelled(lease: RunLease) -> None:
    """Record that a run was cancelled; raises Superseded."""
    journal = records.RunJournal()
    journal.run_ended(lease, RunStatus.CANCELLED)
    await journal.barrier()
