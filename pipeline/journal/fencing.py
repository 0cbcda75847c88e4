"""Fencing: a lease with the attempt's token, checked inside each transaction that writes.

A worker that was paused can wake up after another has taken over. What it then comes to must
change nothing, so no write to a run, a step or a task goes without its token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from pipeline.journal.statements import Lock, read, update
from pipeline.models.inbox import Task, TaskStatus
from pipeline.models.runs import PipelineRun


class Superseded(Exception):
    """Another worker has taken this over: what comes now is too late and changes nothing."""


def progressed(token: UUID) -> None:
    """Count a task's attempts anew, inside the transaction that brings it further than ever before.

    A task that gets further on each attempt is not in a crash loop. Call this only for progress
    that happens once per task: otherwise a real crash loop would never end.
    """
    # By the status, because there is an index for it, and few tasks are being worked on.
    for task_id, attempts in read(Task, ("id", "attempts"), status=TaskStatus.RUNNING, token=token):
        if attempts > 1:
            update(Task, {"attempts": 1}, id=task_id, token=token)


class Lease(Protocol):
    """The right of one attempt to write, by its fencing token."""

    @property
    def token(self) -> UUID: ...

    def assert_held(self) -> None:
        """Lock the leased row for this transaction.

        Raises:
            Superseded: another attempt has the lease by now.
        """
        ...


@dataclass(frozen=True, slots=True)
class RunLease:
    """The right to go on with a run."""

    run_id: UUID
    token: UUID

    def assert_held(self) -> None:
        if not read(
            PipelineRun, ("id",), lock=Lock.CHANGE, id=self.run_id, attempt_token=self.token
        ):
            raise Superseded(f"run {self.run_id} is in other hands")


@dataclass(frozen=True, slots=True)
class TaskLease:
    """The right to work on a task."""

    task_id: int
    token: UUID

    def assert_held(self) -> None:
        is_running = {"id": self.task_id, "status": TaskStatus.RUNNING}
        if not read(Task, ("id",), lock=Lock.CHANGE, token=self.token, **is_running):
            raise Superseded(f"task {self.task_id} is in other hands")
