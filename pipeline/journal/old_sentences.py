"""Parse the decision columns of old steps from their stored sentence.

Steps older than these columns have only the sentence. No other module parses one. A result is
used only if it renders to the same sentence again.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from agents.llm.base import Payer
from pipeline.journal.facts import ModelChoice
from pipeline.journal.sentences import sentence
from pipeline.models import StepRun
from pipeline.models.runs import DecisionSource

_SENTENCE = re.compile(
    r"(?P<ran>ran|was to run) (?P<model>\S+) because (?P<why>.+?); "
    r"(?P<payer>shared key|the member's own \w+ key)"
    r"(?:; snapshot (?P<version>\S+) (?P<age>\d+\.\d) s old)?"
    r"(?P<stale>, stale: neither cache nor database answered)?"
    r"(?:; that model failed, so (?P<instead>\S+) answered on the same key)?"
)
_OVERRIDE = re.compile(
    r"(?:override |(?P<outside>an override changed outside the admin \(its row says ))"
    r"v(?P<version>\d+) by (?P<by>.+) on (?P<at>\d{4}-\d\d-\d\d \d\d:\d\d) UTC\)?"
    r"(?P<no_effect> is without effect: no shared key is set)?"
)
_DEFAULT = re.compile(r"no override is set(?P<outside> \(it was removed outside the admin\))?")
_AGE = re.compile(r"\d+\.\d s old")
_ERROR = re.compile(r"([A-Z]\w*)(?:: |\Z)")


def error_class(error: str) -> str:
    """Return the class name at the start of an error text, or "cancelled"; "" without either."""
    found = _ERROR.match(error)
    return found[1] if found else error if error == "cancelled" else ""


def columns_of(step: StepRun) -> dict[str, Any]:
    """Return the columns parsed from a step's sentence; {} if they do not render to it again.

    The snapshot's age is not compared: the sentence rounded it from more digits than the column
    has.
    """
    found = _SENTENCE.fullmatch(step.decision)
    if found is None:
        return {}
    choice = ModelChoice(
        provider=step.provider,
        requested_model=step.requested_model,
        payer=Payer(step.payer) if step.payer else Payer.MEMBER,
        decision_source=DecisionSource.GIVEN,
        given_because=found["why"],
        snapshot_version=step.snapshot_version,
        snapshot_age_ms=step.snapshot_age_ms,
        is_stale=step.is_stale,
    )
    if found["version"]:
        choice = _by_snapshot(choice, found["why"])
    has_called, fell_back_to = found["ran"] == "ran", found["instead"] or ""
    again = sentence(choice, has_called=has_called, fell_back_to=fell_back_to)
    if _AGE.sub("", again) != _AGE.sub("", step.decision):
        return {}
    return {
        "has_called": has_called,
        "fell_back_to": fell_back_to,
        "error_type": error_class(step.error),
        "decision_source": choice.decision_source,
        "is_outside_change": choice.is_outside_change,
        "said_version": choice.said_version,
        "set_by": choice.set_by,
        "set_at": choice.set_at,
        "given_because": choice.given_because,
    }


def _by_snapshot(choice: ModelChoice, why: str) -> ModelChoice:
    if default := _DEFAULT.fullmatch(why):
        return replace(
            choice,
            decision_source=DecisionSource.DEFAULT,
            is_outside_change=bool(default["outside"]),
            given_because="",
        )
    found = _OVERRIDE.fullmatch(why)
    if found is None:
        return choice
    has_effect = found["no_effect"] is None
    return replace(
        choice,
        decision_source=DecisionSource.OVERRIDE if has_effect else DecisionSource.NO_SHARED_KEY,
        is_outside_change=bool(found["outside"]),
        said_version=int(found["version"]),
        set_by="" if found["by"] == "somebody" else found["by"],
        set_at=datetime.strptime(found["at"], "%Y-%m-%d %H:%M").replace(tzinfo=UTC),
        given_because="",
    )
