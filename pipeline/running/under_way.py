"""The state of a run and of its steps while they are in progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pipeline.journal import records
from pipeline.journal.facts import OpenStep, StepPlace, StepRow
from pipeline.journal.fencing import Lease, RunLease
from pipeline.journal.reports import RunReport, StepReport
from pipeline.running.config import PipelineConfig, StepConfig
from pipeline.running.context import PipelineContext
from pipeline.running.decisions import Decision


@dataclass(slots=True, kw_only=True)
class RunUnderWay:
    """A run in progress, from its start or from where it was interrupted."""

    pipeline: PipelineConfig
    ctx: PipelineContext
    lease: RunLease
    is_kept_open: bool  # if it is interrupted, so that another worker can take it over
    on_stage: Callable[[str], None] | None
    kept: dict[int, StepReport] = field(default_factory=dict)  # ended earlier, by position
    journal: records.RunJournal = field(default_factory=records.RunJournal)
    report: RunReport = field(init=False)

    def __post_init__(self) -> None:
        self.report = RunReport(
            run_id=self.lease.run_id, pipeline=self.pipeline.name, steps=list(self.kept.values())
        )

    def open(self, position: int, step: StepConfig) -> StepReport:
        """Add a step that starts now to the run's report, and return the step's report."""
        opened = StepReport(agent=step.agent, mode=step.mode, position=position)
        self.report.steps.append(opened)
        return opened


@dataclass(frozen=True, slots=True)
class StepUnderWay:
    """A step in progress."""

    position: int
    config: StepConfig
    report: StepReport
    ends_at: float  # monotonic time at which the run's time is up
    lease: Lease
    journal: records.RunJournal

    @property
    def place(self) -> StepPlace:
        return self.config.at(self.position)

    def opened(self, run_id: UUID, step_id: UUID, deadline_s: float) -> OpenStep:
        """Return the step as its row has been opened."""
        return OpenStep(
            id=step_id,
            run_id=run_id,
            token=self.lease.token,
            place=self.place,
            deadline_s=deadline_s,
        )


@dataclass(slots=True)
class StepAttempt:
    """What is known of a step so far, so that its record is right wherever the step stops."""

    inputs: dict[str, Any] = field(default_factory=dict)
    decision: Decision | None = None
    row: StepRow | None = None
    recorder: records.StepRecorder | None = None
    error_type: str = ""
    alert: str = ""  # for the operators
    has_called: bool = False  # at its end: a task of the agent may outlive the step and make calls
