"""What the journal is told of a run and its steps, as plain values: it knows no pipeline and no context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agents.llm.base import Purse
from pipeline.models.runs import Source, StepMode


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOpening:
    """A run that begins, with all that its agents may see."""

    pipeline: str
    definition: str  # as JSON: a run that is cut off goes on by it, whatever the YAML says by then
    source: Source
    member_id: int | None = None
    update_id: int | None = None
    user_message: str = field(default="", repr=False)
    background: Mapping[str, str] = field(default_factory=dict, repr=False)
    image_b64: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlace:
    """Which step of its run it is."""

    position: int
    agent: str
    mode: StepMode


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """Which model a step runs on, and why."""

    sentence: str
    provider: str
    requested_model: str
    purse: Purse
    override_version: int | None
    snapshot_version: str
    snapshot_age_ms: int | None
    is_stale: bool
