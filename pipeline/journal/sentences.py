"""Why a step ran on its model, in one sentence, from the columns that say so.

No code reads a sentence back. Rows from before these columns have none of them, and keep the
sentence that was written then.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from agents.llm.base import Purse
from pipeline.models.runs import DecisionSource


class DecisionFacts(Protocol):
    """What a step's row, or a decision that was just made, says of the model."""

    @property
    def decision_source(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def requested_model(self) -> str: ...
    @property
    def purse(self) -> str: ...
    @property
    def is_outside_change(self) -> bool: ...
    @property
    def said_version(self) -> int | None: ...
    @property
    def set_by(self) -> str: ...
    @property
    def set_at(self) -> datetime | None: ...
    @property
    def given_because(self) -> str: ...
    @property
    def snapshot_version(self) -> str: ...
    @property
    def snapshot_age_ms(self) -> int | None: ...
    @property
    def is_stale(self) -> bool: ...


def sentence(facts: DecisionFacts, *, has_called: bool = True, fell_back_to: str = "") -> str:
    """Return the full sentence, as `StepRun.decision` keeps it."""
    words = f"{what(facts, has_called=has_called)}; {payer(facts)}"
    if facts.decision_source != DecisionSource.GIVEN:
        age_s = (facts.snapshot_age_ms or 0) / 1000
        words += f"; snapshot {facts.snapshot_version} {age_s:.1f} s old"
    if facts.is_stale:
        words += ", stale: neither cache nor database answered"
    if fell_back_to:
        words += f"; that model failed, so {fell_back_to} answered on the same key"
    return words


def what(facts: DecisionFacts, *, has_called: bool = True) -> str:
    """Return which model it was, and why."""
    ran = "ran" if has_called else "was to run"
    return f"{ran} {facts.requested_model} because {why(facts)}"


def why(facts: DecisionFacts) -> str:
    """Return what decided on the model."""
    if facts.decision_source == DecisionSource.GIVEN:
        return facts.given_because
    if facts.decision_source == DecisionSource.DEFAULT:
        removed = " (it was removed outside the admin)" if facts.is_outside_change else ""
        return f"no override is set{removed}"
    if facts.decision_source == DecisionSource.NO_SHARED_KEY:
        return f"{_override(facts)} is without effect: no shared key is set"
    return _override(facts)


def payer(facts: DecisionFacts) -> str:
    """Return who pays."""
    if facts.purse == Purse.SHARED:
        return "shared key"
    return f"the member's own {facts.provider} key"


def _override(facts: DecisionFacts) -> str:
    set_at = f"{facts.set_at:%Y-%m-%d %H:%M}" if facts.set_at else "-"
    said = f"v{facts.said_version} by {facts.set_by or 'somebody'} on {set_at} UTC"
    if facts.is_outside_change:
        return f"an override changed outside the admin (its row says {said})"
    return f"override {said}"
