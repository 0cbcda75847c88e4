"""Plain values that describe a run and its steps to the journal, without pipeline or context."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

from agents.base import AgentOutput, Inputs
from agents.llm.base import Payer
from pipeline.models.runs import DecisionSource, Source, StepMode, StepStatus


class RunRefused(Exception):
    """A run may not begin, so nothing of it is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOpening:
    """A new run with all inputs that its agents may see."""

    pipeline: str
    definition: str  # JSON; an interrupted run resumes with it even if the YAML has changed
    source: Source
    member_id: int | None = None
    started_by: str = ""  # the operator who started a trial or a rerun
    has_recorded_texts: bool = False  # a trial whose inputs are those of a recorded step
    update_id: int | None = None
    inputs: Inputs = field(default_factory=Inputs, repr=False)
    # Called in the transaction that opens the run; raises RunRefused if it may not begin.
    admit: Callable[[], None] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlace:
    """The position, agent and mode of a step in its run."""

    position: int
    agent: str
    mode: StepMode


@dataclass(slots=True, kw_only=True)
class StepRow:
    """The row of a step that starts now.

    A queued step has a row already: its id stands here once the step's start is durable.
    """

    id: UUID = field(default_factory=uuid4)
    agent: str
    started_at: datetime
    is_of_new_run: bool = False  # a run that this worker opened: no attempt came before


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStep:
    """An attempt at a step that is on record, whose calls are to be recorded, too."""

    id: UUID
    run_id: UUID
    token: UUID
    place: StepPlace
    deadline_s: float  # for the whole attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """The model a step runs on and why; each field is the step row's column of the same name."""

    provider: str
    requested_model: str
    payer: Payer
    decision_source: DecisionSource
    override_version: int | None = None  # only if the override is in effect
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
    """The outcome of one attempt at a step."""

    status: StepStatus
    output: AgentOutput
    decision: str = ""  # the sentence that explains the model choice
    has_called: bool | None = None
    fell_back_to: str = ""
    error_type: str = ""  # class name of the error; "cancelled" for a cancelled step
    member_line: str = ""
