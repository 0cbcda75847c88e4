"""The queue as everybody else sees it: tasks go in with a transaction, claims come out.

A backend promises: a task that was committed is worked on until it ends, by one worker at a time;
messages of one lane strictly in the order in which they were added, everything else side by side;
what a worker leaves behind when it dies is claimed again, at most `MAX_ATTEMPTS` times in all.
`tests/pipeline/queue/contract.py` holds every backend to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple, Protocol
from uuid import UUID

from agents.llm.secrets import scrub
from pipeline.models.inbox import PermanentFailureKind, Task, TaskKind, TaskStatus

MAX_ATTEMPTS = 5
SUSPECT_AFTER = 2  # workers that died: from then on it has a worker to itself for a moment
# What is only polite: worked on when nothing else is ready, never after its time, and not at all
# if workers have died of it, or beside it.
COURTESIES = frozenset({TaskKind.NOTICE})
COURTESY_LASTS = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Claim:
    """The right to work on one task, until it is lost to another worker."""

    task_id: int
    kind: TaskKind
    update_id: int | None
    step_id: UUID | None
    run_id: UUID | None = None
    token: UUID
    attempt: int
    is_suspect: bool = False  # its workers have died before: perhaps because of it
    is_rush: bool = False  # the worker is full, so others wait
    job_id: int | None = None  # of the library's job that brought it, where there is one
    stop: asyncio.Event = field(default_factory=asyncio.Event, repr=False)  # somebody said /cancel


class Claimed(NamedTuple):
    """What one look at the tasks came to."""

    claims: list[Claim]
    is_more: bool = False  # may be ready for this worker: it is to look again at once


class PermanentFailure(Exception):
    """Trying again cannot help; the message says why."""

    def __init__(
        self, why: str, kind: PermanentFailureKind = PermanentFailureKind.PERMANENT
    ) -> None:
        super().__init__(why)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task was not done: in words, which may quote a message, and as a type."""

    error: str = ""
    error_type: str = ""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return what is kept of an exception, without the secrets in its text."""
        if isinstance(error, PermanentFailure):
            return cls(scrub(str(error)), error.kind)
        name = type(error).__name__
        return cls(scrub(f"{name}: {error}"), name)


AddTasks = Callable[[Sequence[Task]], None]  # in the caller's transaction
Perform = Callable[[Claim], Awaitable[TaskStatus]]  # DONE or IGNORED; raises to be tried again
# Told why, before the task is marked dead: again should that fail, for nobody must be left without.
GivenUp = Callable[[Claim, str], Awaitable[None]]


class Queue(Protocol):
    """Where tasks wait, and who hands them out."""

    def add(self, tasks: Sequence[Task]) -> None:
        """Add tasks in the caller's transaction; they are handed out once it is committed."""
        ...

    async def start(self, perform: Perform, given_up: GivenUp) -> None:
        """Begin to hand out tasks; returns at once."""
        ...

    async def close(self, within_s: float) -> None:
        """Hand out no more, let what is being done end, and hand back what does not end in time."""
        ...
