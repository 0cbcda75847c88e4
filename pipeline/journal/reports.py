"""Reports on a run and its steps: returned by the runner, or restored from the record."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from agents.base import AgentOutput, Inputs
from pipeline.models.runs import RunStatus, StepMode, StepStatus


@dataclass(kw_only=True)
class StepReport:
    """The outcome of one step, as reported to the code that started the run."""

    agent: str
    mode: StepMode
    position: int = 0
    status: StepStatus = StepStatus.RUNNING
    requested_model: str = ""
    served_model: str = ""
    upstream: str = ""  # provider behind the gateway that ran or refused the last call
    payer: str = ""
    decision: str = ""
    cost_usd: Decimal | None = None
    latency_ms: int = 0
    error: str | None = None
    member_line: str = ""  # error text that a member may read
    fell_back_to: str = ""


@dataclass(kw_only=True)
class RunReport:
    """The outcome of a run; background steps in `steps` may still be running."""

    run_id: UUID
    pipeline: str
    status: RunStatus = RunStatus.RUNNING
    answer: str = ""
    steps: list[StepReport] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptStep:
    """A step that ended before a restart; its output is reused and it does not run again."""

    report: StepReport
    output: AgentOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRun:
    """A run read back from its record."""

    report: RunReport  # contains only the steps that ended
    definition: str  # the pipeline in JSON
    inputs: Inputs
    steps: tuple[KeptStep, ...]

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, so that only its outcome is left to report."""
        return self.report.status is not RunStatus.RUNNING
