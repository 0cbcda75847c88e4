"""Callbacks that modules above the journal register, run in the transaction that writes a row.

A module registers its own when it is loaded, which `pipeline.apps` sees to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pipeline.models.runs import StepRun

Learn = Callable[[StepRun, Mapping[str, Any]], None]
Reopen = Callable[..., None]

_learners: dict[str, Learn] = {}
_reopeners: list[Reopen] = []


def learn_from(agent: str, learn: Learn) -> None:
    """Register a function that is given the output of this agent's steps that ended well."""
    _learners[agent] = learn


def reopen_with(reopen: Reopen) -> None:
    """Register a function that is given the start times of changed steps or calls.

    It reopens the sums that were closed for those times.
    """
    if reopen not in _reopeners:
        _reopeners.append(reopen)


def learner_of(agent: str) -> Learn | None:
    """Return the function that is given this agent's output, None without one."""
    return _learners.get(agent)


def changed(*moments: datetime) -> None:
    """Announce that steps or calls that started at these times have changed."""
    for reopen in _reopeners:
        reopen(*moments)
