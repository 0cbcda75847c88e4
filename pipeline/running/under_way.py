"""A run and its steps while they are being worked on: what is known of them so far."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pipeline.journal import records
from pipeline.journal.facts import StepPlace
from pipeline.journal.fencing import Lease, RunLease
from pipeline.journal.reports import RunReport, StepReport
from pipeline.running.config import PipelineConfig, StepConfig
from pipeline.running.context import PipelineContext
from pipeline.running.decisions import Decision


@dataclass(slots=True, kw_only=True)
class RunUnderWay:
    """One run on its way, from its start or from where it was cut off."""

    pipeline: PipelineConfig
    ctx: PipelineContext
    lease: RunLease
    is_kept_open: bool  # when it is cut off, so that another worker can take it over
    on_stage: Callable[[str], None] | None
    kept: dict[int, StepReport] = field(default_factory=dict)  # by position: ended before
    report: RunReport = field(init=False)

    def __post_init__(self) -> None:
        self.report = RunReport(
            run_id=self.lease.run_id, pipeline=self.pipeline.name, steps=list(self.kept.values())
        )

    def open(self, position: int, step: StepConfig) -> StepReport:
        """Return the report of a step that starts now."""
        opened = StepReport(agent=step.agent, mode=step.mode, position=position)
        self.report.steps.append(opened)
        return opened


@dataclass(frozen=True, slots=True)
class StepUnderWay:
    """One step of one run."""

    position: int
    config: StepConfig
    report: StepReport
    ends_at: float  # monotonic: when the run's time is up
    lease: Lease

    @property
    def place(self) -> StepPlace:
        return self.config.at(self.position)


@dataclass(slots=True)
class StepAttempt:
    """What a step came to know on its way, so that the record is right wherever it stopped."""

    inputs: dict[str, Any] = field(default_factory=dict)
    decision: Decision | None = None
    opening: asyncio.Future[UUID] | None = None  # the row's id, even if its waiter was cancelled
    recorder: records.StepRecorder | None = None
    error_type: str = ""
    has_called: bool = False  # when it ended: an agent's own task may outlive its step and call
