"""Which provider an agent gets, and why: one pure function for runs, `/model` and previews."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from agents.llm.base import LLMProvider, Payer
from agents.model_config import Resolution
from agents.override_changes import UNDONE_WITHIN
from pipeline.journal.facts import ModelChoice
from pipeline.journal.sentences import sentence, why
from pipeline.models.runs import DecisionSource
from pipeline.people.refusals import NotRun


class NoPayer(NotRun):
    """A call has no payer: no override, no member's key, and no right to use the shared key."""

    member_line = "There's no API key to pay for this. Send /start to add yours."


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The provider that a step runs on, and the model choice that the journal records."""

    llm: LLMProvider
    choice: ModelChoice

    @property
    def sentence(self) -> str:
        """The reason for the model as a sentence, before any call is made."""
        return sentence(self.choice)

    @property
    def is_override(self) -> bool:
        return self.choice.decision_source == DecisionSource.OVERRIDE


def decided(seen: Resolution, default: LLMProvider | None) -> Decision:
    """Return the override's provider if there is one, else the default, with the reason.

    Raises:
        NoPayer: there is neither an override's provider nor a default.
    """
    override, llm = seen.override, seen.provider or default
    if override is None:
        source = DecisionSource.DEFAULT
    else:
        source = DecisionSource.OVERRIDE if seen.provider else DecisionSource.NO_SHARED_KEY
    choice = ModelChoice(
        provider=llm.name if llm else "",
        requested_model=llm.model_id if llm else "",
        payer=llm.payer if llm else Payer.MEMBER,
        decision_source=source,
        override_version=override.version if override and seen.provider else None,
        is_outside_change=override.is_outside if override else seen.was_removed_outside,
        said_version=override.version if override else None,
        set_by=override.set_by if override else "",
        set_at=override.set_at if override else None,
        snapshot_version=seen.freshness.version,
        snapshot_age_ms=round(seen.freshness.age_s * 1000),
        is_stale=seen.freshness.is_stale,
    )
    if llm is None:
        raise NoPayer(f"{why(choice)}, {_WHY_NO_PAYER}")
    return Decision(llm=llm, choice=choice)


def given(default: LLMProvider | None, because: str) -> Decision:
    """Return the decision for a run whose caller chose the provider; raises as `decided`."""
    if default is None:
        raise NoPayer(f"{because}, {_WHY_NO_PAYER}")
    choice = ModelChoice(
        provider=default.name,
        requested_model=default.model_id,
        payer=default.payer,
        decision_source=DecisionSource.GIVEN,
        given_because=because,
    )
    return Decision(llm=default, choice=choice)


def failure_alert(agent: str, decision: Decision, error: str, now: datetime) -> str:
    """Return what operators are told when an override's model has failed for good."""
    told = f"{agent}: the override's model {decision.llm.model_id} failed: {error}"
    choice = decision.choice
    if choice.set_at is None or now - choice.set_at > UNDONE_WITHIN:
        return told
    minutes = int((now - choice.set_at).total_seconds() // 60)
    when = f"{minutes} min ago" if minutes > 0 else "just now"
    by = choice.set_by or "an unknown operator"
    change = f"It was set {when} (v{choice.said_version} by {by})"
    return f"{told.rstrip('.')}. {change}. To undo it, open Overrides in the admin and press Undo."


_WHY_NO_PAYER = "the member has no key, and the shared key is not for members"
