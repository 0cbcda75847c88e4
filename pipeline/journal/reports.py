"""How a run and its steps went, in the words of code: what the runner returns and records keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from agents.base import AgentOutput, Inputs
from pipeline.models.runs import RunStatus, StepMode, StepStatus


@dataclass(kw_only=True)
class StepReport:
    """How one step went, for the run's caller."""

    agent: str
    mode: StepMode
    position: int = 0
    status: StepStatus = StepStatus.RUNNING
    requested_model: str = ""
    served_model: str = ""
    upstream: str = ""  # who ran it behind the gateway, or refused to, of the last call
    payer: str = ""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptStep:
    """A step that ended before a restart: it is not run again, its output is used."""

    report: StepReport
    output: AgentOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRun:
    """A run as its record has it, taken over to be gone on with."""

    report: RunReport  # its steps are those that ended
    definition: str  # the pipeline in JSON
    inputs: Inputs
    steps: tuple[KeptStep, ...]

    @property
    def is_over(self) -> bool:
        """Whether nothing is left of it but to tell its end."""
        return self.report.status is not RunStatus.RUNNING
