"""The interface of the queue: tasks are added in a transaction and handed out as claims.

Every backend guarantees: a committed task is worked on until it ends, by one worker at a time;
messages of one lane run strictly in the order in which they were added, all else concurrently;
the tasks of a worker that dies are claimed again, at most `MAX_ATTEMPTS` times in all.
`tests/pipeline/queue/contract.py` tests every backend for this.
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
POISON_SUSPECT_AFTER = (
    2  # worker deaths: from then on the task first has a worker to itself for a moment
)
# Optional tasks: worked on when nothing else is ready, never after `COURTESY_LASTS`, and dropped
# if workers have died because of them or while they ran.
COURTESIES = frozenset({TaskKind.NOTICE})
COURTESY_LASTS = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """How long a backend waits for what, in seconds."""

    poll_interval_s: float = 0.5  # between two looks for tasks that nothing announced
    stop_every_s: float = 0.3  # between two looks for requests to stop
    renew_every_s: float = 2.5  # between two renewals of the leases: four per lease
    # After an outage or a pause: by then every live worker has renewed its leases.
    settle_s: float = 5.0
    # A worker must have lived this long before it takes a suspect, and twice as long after each
    # further death: a task that kills workers is still found, while a series of crashes blames no
    # task.
    calm_s: float = 5.0
    # A suspect has the process to itself for this long, to get further or to crash without harm to
    # others; then tasks of other chats start while it continues.
    alone_s: float = 1.0
    first_pause_s: float = 0.5  # before the second attempt; doubled before each further one


TIMINGS = Timings()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Claim:
    """The right to work on one task, until another worker takes it over."""

    task_id: int
    kind: TaskKind
    update_id: int | None
    step_id: UUID | None
    run_id: UUID | None = None
    token: UUID
    delivery_count: int  # 1 when it is handed out for the first time since its last progress
    is_poison_suspect: bool = False  # workers have died during this task, perhaps because of it
    is_rush: bool = False  # the worker is full, so other tasks wait
    job_id: int | None = None  # the procrastinate job of the task, if there is one
    stop: asyncio.Event = field(default_factory=asyncio.Event, repr=False)  # set after /cancel


class Claimed(NamedTuple):
    """The result of one attempt to claim tasks."""

    claims: list[Claim]
    is_more: bool = False  # more tasks may be ready: claim again at once


class PermanentFailure(Exception):
    """A retry cannot help; the message says why."""

    def __init__(
        self, why: str, kind: PermanentFailureKind = PermanentFailureKind.PERMANENT
    ) -> None:
        super().__init__(why)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task failed: a text, which may quote a message, and an error type."""

    error: str = ""
    error_type: str = ""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return an exception as it is stored, without the secrets in its text."""
        if isinstance(error, PermanentFailure):
            return cls(scrub(str(error)), error.kind)
        name = type(error).__name__
        return cls(scrub(f"{name}: {error}"), name)


AddTasks = Callable[[Sequence[Task]], None]  # in the caller's transaction
Perform = Callable[
    [Claim], Awaitable[TaskStatus]
]  # returns SUCCESSFUL or IGNORED; raises to be retried
# Called with the reason before a task is marked dead; after an outage it is called again, so that
# the people concerned always learn of it.
OnDeadLetter = Callable[[Claim, str], Awaitable[None]]


class Queue(Protocol):
    """Stores tasks, and hands them out to a worker."""

    def add(self, tasks: Sequence[Task]) -> None:
        """Add tasks in the caller's transaction; they are handed out once it is committed."""
        ...

    async def start(self, perform: Perform, on_dead_letter: OnDeadLetter) -> None:
        """Start handing out tasks; returns at once."""
        ...

    async def close(self, within_s: float) -> None:
        """Stop handing out tasks, wait up to `within_s` for running ones, hand back the rest."""
        ...
