"""Fills the columns of steps and calls from before there were any, out of the sentences of then.

In batches, from the newest step back, and gone on with where the last one ended. A step is filled only
if its columns render to the very sentence that it has; any other one keeps the sentence alone, which
the pages show as it is.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.db.models import Q

from agents.llm.base import Purse
from pipeline.journal.facts import ModelChoice
from pipeline.journal.sentences import sentence
from pipeline.models import LLMCall, StepRun
from pipeline.models.runs import DecisionSource

BATCH = 500  # steps

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
_ERROR = re.compile(r"([A-Z]\w*)(?:: |\Z)")


@transaction.atomic
def fill(before: tuple[str, str]) -> tuple[str, str] | None:
    """Fill one batch of steps older than this one; return the last of them, None after the end.

    A step is named by when it began, as ISO 8601, and its id; ("", "") begins with the newest.
    """
    steps = StepRun.objects.filter(decision_source="").exclude(decision="")
    if before[0]:
        began_at = datetime.fromisoformat(before[0])
        is_older = Q(started_at__lt=began_at) | Q(started_at=began_at, id__lt=before[1])
        steps = steps.filter(is_older, started_at__lte=began_at)
    batch = list(steps.order_by("-started_at", "-id")[:BATCH])
    for step in batch:
        changes = columns_of(step)
        if changes:
            StepRun.objects.filter(pk=step.pk, decision_source="").update(**changes)
    calls = LLMCall.objects.filter(step__in=batch, error_type="").exclude(error="")
    for call in calls.only("pk", "error"):
        if found := _ERROR.match(call.error):
            LLMCall.objects.filter(pk=call.pk).update(error_type=found[1])
    if not batch:
        return None
    return batch[-1].started_at.isoformat(), str(batch[-1].pk)


def columns_of(step: StepRun) -> dict[str, Any]:
    """Return what the sentence of a step says, by column; nothing if that is not all it says."""
    found = _SENTENCE.fullmatch(step.decision)
    if found is None:
        return {}
    choice = ModelChoice(
        provider=step.provider,
        requested_model=step.requested_model,
        purse=Purse(step.purse) if step.purse else Purse.MEMBER,
        decision_source=DecisionSource.GIVEN,
        given_because=found["why"],
        snapshot_version=step.snapshot_version,
        snapshot_age_ms=step.snapshot_age_ms,
        is_stale=step.is_stale,
    )
    if found["version"]:
        choice = _by_snapshot(choice, found["why"])
    has_called, fell_back_to = found["ran"] == "ran", found["instead"] or ""
    if sentence(choice, has_called=has_called, fell_back_to=fell_back_to) != step.decision:
        return {}
    error = _ERROR.match(step.error)
    return {
        "has_called": has_called,
        "fell_back_to": fell_back_to,
        "error_type": error[1] if error else step.error if step.error == "cancelled" else "",
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
