"""Callbacks that modules above the journal register, run in the transaction that writes a row.

Each module registers its callbacks when it is imported; `pipeline.apps` imports them all.
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
    """Register a function to call with each successful step of this agent and its output."""
    _learners[agent] = learn


def reopen_with(reopen: Reopen) -> None:
    """Register a function to call with the start times of changed steps or calls.

    It reopens the usage sums that were closed for these times.
    """
    if reopen not in _reopeners:
        _reopeners.append(reopen)


def learner_of(agent: str) -> Learn | None:
    """Return the function registered for this agent's output, or None."""
    return _learners.get(agent)


def changed(*moments: datetime) -> None:
    """Report that steps or calls that started at these times have changed."""
    for reopen in _reopeners:
        reopen(*moments)
