"""Render why a step ran on its model from the step's columns, for operators and for members.

Rows older than these columns have only the sentence that was stored with them; apart from
`pipeline.journal.old_sentences`, no code parses a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Protocol

from django.utils import timezone

from agents.display import dollars
from agents.llm.base import Payer
from agents.llm.router import PROVIDERS
from pipeline.models.runs import DecisionSource

_NO_NAMES: Mapping[str, str] = MappingProxyType({})


class DecisionFacts(Protocol):
    """The facts of a model choice, from a step's row or from a new decision."""

    @property
    def decision_source(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def requested_model(self) -> str: ...
    @property
    def payer(self) -> str: ...
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


class StepFacts(DecisionFacts, Protocol):
    """The facts of a model choice and of the calls, from the row of an ended step."""

    @property
    def agent(self) -> str: ...
    @property
    def has_called(self) -> bool | None: ...
    @property
    def fell_back_to(self) -> str: ...


def sentence(facts: DecisionFacts, *, has_called: bool = True, fell_back_to: str = "") -> str:
    """Return the full sentence, as stored in `StepRun.decision`."""
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
    """Return the clause that names the model and the reason for it."""
    ran = "ran" if has_called else "was to run"
    return f"{ran} {facts.requested_model} because {why(facts)}"


def why(facts: DecisionFacts) -> str:
    """Return the reason for the model."""
    if facts.decision_source == DecisionSource.GIVEN:
        return facts.given_because
    if facts.decision_source == DecisionSource.DEFAULT:
        removed = " (it was removed outside the admin)" if facts.is_outside_change else ""
        return f"no override is set{removed}"
    if facts.decision_source == DecisionSource.NO_SHARED_KEY:
        return f"{_override(facts)} is without effect: no shared key is set"
    return _override(facts)


def payer(facts: DecisionFacts) -> str:
    """Return the words for the payer."""
    if facts.payer == Payer.SHARED:
        return "shared key"
    return f"the member's own {facts.provider} key"


def _override(facts: DecisionFacts) -> str:
    set_at = f"{facts.set_at:%Y-%m-%d %H:%M}" if facts.set_at else "-"
    said = f"v{facts.said_version} by {facts.set_by or 'somebody'} on {set_at} UTC"
    if facts.is_outside_change:
        return f"an override changed outside the admin (its row says {said})"
    return f"override {said}"


# --- for members ----------------------------------------------------------------------------------


def member_sentence(
    facts: DecisionFacts, agent: str, *, today: date, names: Mapping[str, str] = _NO_NAMES
) -> str:
    """Return which model an agent would run on now, why, and who would pay.

    `names` maps model ids to display names; a model without one is called by its id.
    """
    model = names.get(facts.requested_model, facts.requested_model)
    return f"Your {_spoken(agent)} runs on {model}. {_reason(facts, today)} {_payer(facts)} pays."


def member_account(
    step: StepFacts,
    *,
    today: date,
    names: Mapping[str, str] = _NO_NAMES,
    cost_usd: Decimal | None = None,
) -> str:
    """Return which model a step ran on, why, who paid, and the cost if known."""
    has_called = step.has_called is not False
    model = names.get(step.requested_model, step.requested_model)
    ran = "ran" if has_called else "was going to run"
    parts = [f"Your {_spoken(step.agent)} {ran} on {model}.", _reason(step, today)]
    if step.fell_back_to:
        instead = names.get(step.fell_back_to, step.fell_back_to)
        parts.append(f"That model failed, so {instead} answered instead.")
    if has_called:
        amount = f" {dollars(cost_usd)}" if cost_usd is not None else ""
        parts.append(f"{_payer(step)} paid{amount}.")
    else:
        parts.append("It made no call, so nothing was paid.")
    return " ".join(parts)


def _spoken(agent: str) -> str:
    return agent.replace("_", " ")


def _reason(facts: DecisionFacts, today: date) -> str:
    """Return the reason for the model, without operator names or versions."""
    if facts.decision_source == DecisionSource.GIVEN:  # the stored reason may name an operator
        return "It was chosen for this run."
    if facts.decision_source == DecisionSource.OVERRIDE:
        if facts.is_outside_change:
            return "It was set outside the admin."
        return f"Your team's admin chose it{_on_day(facts, today)}."
    whose = "the team's" if facts.payer == Payer.SHARED else "your"
    default = f"It's {whose} default model"
    if facts.decision_source == DecisionSource.NO_SHARED_KEY:
        other = f"your team's admin chose another one{_on_day(facts, today)}"
        if facts.is_outside_change:
            other = "another one was set outside the admin"
        return f"{default}: {other}, but there's no team key to pay for it."
    if facts.is_outside_change:
        return f"{default}: the one chosen before was removed outside the admin."
    return f"{default}."


def _on_day(facts: DecisionFacts, today: date) -> str:
    if facts.set_at is None:
        return ""
    day = timezone.localtime(facts.set_at).date()
    year = f" {day.year}" if day.year != today.year else ""
    return f" on {day.day} {day:%b}{year}"


def _payer(facts: DecisionFacts) -> str:
    if facts.payer == Payer.SHARED:
        return "The team"
    provider = PROVIDERS.get(facts.provider)
    return f"Your {provider.title if provider else facts.provider} key"
