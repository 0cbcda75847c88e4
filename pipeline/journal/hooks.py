"""What others do when a row is written, in its transaction: they stand above the journal.

They register when their modules are loaded, which `pipeline.apps` sees to.
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
    """Have a function take in what this agent found out about a member, once a step has ended well."""
    _learners[agent] = learn


def reopen_with(reopen: Reopen) -> None:
    """Have a function told when something began that has changed since: its sums may be closed."""
    if reopen not in _reopeners:
        _reopeners.append(reopen)


def learner_of(agent: str) -> Learn | None:
    """Return who learns from this agent."""
    return _learners.get(agent)


def changed(*moments: datetime) -> None:
    """Tell who adds up that steps or calls which began then have changed."""
    for reopen in _reopeners:
        reopen(*moments)
