"""What the journal is told of a run and its steps, as plain values without pipeline or context."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from agents.base import AgentOutput, Inputs
from agents.llm.base import Payer
from pipeline.models.runs import DecisionSource, Source, StepMode, StepStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOpening:
    """A run that begins, with all that its agents may see."""

    pipeline: str
    definition: str  # as JSON: a run that is cut off goes on by it, whatever the YAML says by then
    source: Source
    member_id: int | None = None
    update_id: int | None = None
    inputs: Inputs = field(default_factory=Inputs, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlace:
    """Which step of a run this is."""

    position: int
    agent: str
    mode: StepMode


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """Which model a step runs on, and why: columns of its row, by their names."""

    provider: str
    requested_model: str
    payer: Payer
    decision_source: DecisionSource
    override_version: int | None = None  # only of one that is in effect
    is_outside_change: bool = False
    said_version: int | None = None
    set_by: str = ""
    set_at: datetime | None = None
    given_because: str = ""
    snapshot_version: str = ""
    snapshot_age_ms: int | None = None
    is_stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnd:
    """How an attempt at a step ended."""

    status: StepStatus
    output: AgentOutput
    decision: str = ""  # the sentence
    has_called: bool | None = None
    fell_back_to: str = ""
    error_type: str = ""  # the class of what it failed by
    member_line: str = ""
