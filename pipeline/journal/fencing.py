"""Fencing: a lease carries the attempt's token, which each writing transaction checks.

A worker that was paused can wake up after another has taken over. Its late writes must change
nothing, so a write to a run, a step or a task always carries the token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from pipeline.journal.statements import Lock, read, update
from pipeline.models.inbox import Task, TaskStatus
from pipeline.models.runs import PipelineRun


class Superseded(Exception):
    """Another worker has taken over, so this late write changes nothing."""


def progressed(token: UUID) -> None:
    """Set a task's delivery count back to 1, in the transaction that records new progress.

    A task that gets further on each attempt is not in a crash loop. Call this only for progress
    that happens once per task: otherwise a real crash loop would never end.
    """
    # Filter by status: it has an index, and few tasks run at a time.
    names = ("id", "delivery_count")
    for task_id, count in read(Task, names, status=TaskStatus.RUNNING, token=token):
        if count > 1:
            update(Task, {"delivery_count": 1}, id=task_id, token=token)


class Lease(Protocol):
    """The right of one attempt to write, proven by its fencing token."""

    @property
    def token(self) -> UUID: ...

    def assert_held(self) -> None:
        """Lock the leased row until the transaction ends.

        Raises:
            Superseded: another attempt holds the lease now.
        """
        ...


@dataclass(frozen=True, slots=True)
class RunLease:
    """The lease on a run."""

    run_id: UUID
    token: UUID

    def assert_held(self) -> None:
        if not read(
            PipelineRun, ("id",), lock=Lock.CHANGE, id=self.run_id, attempt_token=self.token
        ):
            raise Superseded(f"run {self.run_id} is in other hands")


@dataclass(frozen=True, slots=True)
class TaskLease:
    """The lease on a task."""

    task_id: int
    token: UUID

    def assert_held(self) -> None:
        is_running = {"id": self.task_id, "status": TaskStatus.RUNNING}
        if not read(Task, ("id",), lock=Lock.CHANGE, token=self.token, **is_running):
            raise Superseded(f"task {self.task_id} is in other hands")
