"""What one process needs to answer messages, opened and closed together: resolver, runner, report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import stamina
from asgiref.sync import sync_to_async
from django.conf import settings

from agents.llm.http import close_clients
from agents.model_config import OverridesUnknown, service_from_settings
from agents.process_report import ProcessReport
from agents.registry import default_registry
from pipeline import records
from pipeline.briefing import brief
from pipeline.config import load_pipeline
from pipeline.models import Member
from pipeline.models.runs import Source
from pipeline.runner import PipelineRunner, RunReport

OVERRIDES_WITHIN_S = 30.0  # a database that restarts is back by then


class Engine:
    """Answers messages by pipelines; one for a process."""

    def __init__(self, role: str, alert: records.Alert = records.log_alert) -> None:
        self.model_config = service_from_settings()
        self._report = ProcessReport(self.model_config, role)
        self._runner = PipelineRunner(
            default_registry(),
            step_deadline_s=settings.STEP_DEADLINE_SECONDS,
            run_deadline_s=settings.RUN_DEADLINE_SECONDS,
            alert=alert,
        )

    def start(self) -> None:
        """Begin to report which overrides this process knows; `close` ends it."""
        self._report.start()

    async def __aenter__(self) -> Engine:
        self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close(within_s=settings.DRAIN_SECONDS)

    async def answer(
        self,
        pipeline_name: str,
        member: Member | None,
        message: str,
        *,
        source: Source,
        image_b64: str | None = None,
        on_stage: Callable[[str], None] | None = None,
    ) -> RunReport:
        """Run a pipeline on a member's message.

        Raises:
            UnknownPipeline: there is none of that name.
            NoPurse: nobody may pay for one of its steps; nothing was run.
            OverridesUnknown: the overrides could not be read for 30 s; nothing was run.
        """
        pipeline = load_pipeline(pipeline_name)
        ctx = await sync_to_async(brief)(
            pipeline, member, message, image_b64=image_b64, model_config=self.model_config
        )
        async for attempt in stamina.retry_context(
            on=OverridesUnknown, attempts=None, timeout=OVERRIDES_WITHIN_S, wait_max=2.0
        ):
            with attempt:
                if ctx.default_llm is None:
                    # Find out before the first call: half a run is paid for and answers nothing.
                    for step in pipeline.steps:
                        await ctx.decide(step.agent)
                return await self._runner.run(
                    pipeline,
                    ctx,
                    source=source,
                    member_id=member.pk if member else None,
                    on_stage=on_stage,
                )
        raise AssertionError("the loop above returns or raises")

    async def drain(self) -> None:
        """Wait until the background steps that are running now have ended."""
        await self._runner.drain()

    async def end_background(self, within_s: float) -> None:
        """Wait at most so long for background steps, then cancel them."""
        await self._runner.close(within_s)

    async def close(self, within_s: float) -> None:
        """Wait at most so long for background steps, then close clients, threads and report."""
        await self.end_background(within_s)
        await close_clients()
        await asyncio.to_thread(self._report.close)
        await asyncio.to_thread(self.model_config.close)
