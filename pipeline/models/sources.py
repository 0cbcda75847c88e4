"""Where runs come from, and what a run may do because of that.

`SOURCES` is the only place that says so. Whoever adds a source decides each rule here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pipeline.models.runs import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What runs of one source may do. There are no defaults, so that each is a decision."""

    may_use_members_key: bool  # False: only the team's key pays
    learns: bool  # memory and exercises keep what its steps found out
    counts_for_limits: bool  # of its member: runs an hour, dollars a day
    # Its steps and calls count in usage statistics and forecasts. Costs always count.
    is_traffic: bool
    counts_for_trials: bool  # of the operator who started it: the budget of their trials
    answers_update: bool  # its update's task resumes it after a crash
    is_resumed: bool  # some task resumes it after a crash
    may_be_rerun: bool


SOURCES: Mapping[Source, Rules] = MappingProxyType(
    {
        Source.TELEGRAM: Rules(
            may_use_members_key=True,
            learns=True,
            counts_for_limits=True,
            is_traffic=True,
            counts_for_trials=False,
            answers_update=True,
            is_resumed=True,
            may_be_rerun=True,
        ),
        Source.SHELL: Rules(
            may_use_members_key=True,
            learns=True,
            counts_for_limits=True,
            is_traffic=True,
            counts_for_trials=False,
            answers_update=False,
            is_resumed=False,
            may_be_rerun=True,
        ),
        Source.RERUN: Rules(
            may_use_members_key=False,
            learns=False,
            counts_for_limits=False,
            is_traffic=False,
            counts_for_trials=True,
            answers_update=False,
            is_resumed=True,
            may_be_rerun=True,
        ),
        Source.TRIAL: Rules(
            may_use_members_key=False,
            learns=False,
            counts_for_limits=False,
            is_traffic=False,
            counts_for_trials=True,
            answers_update=False,
            is_resumed=False,
            may_be_rerun=False,
        ),
    }
)


def rules_of(source: str) -> Rules:
    """Return the rules of a stored source; ValueError if this release does not know it."""
    return SOURCES[Source(source)]


def sources_where(rule: str) -> list[Source]:
    """Return the sources for which a rule holds, for queries."""
    return [source for source, rules in SOURCES.items() if getattr(rules, rule)]
