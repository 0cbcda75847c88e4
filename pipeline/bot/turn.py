"""The update that is being worked on, for handlers: the library hands them the update alone."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field

from pipeline.bot.outbox import Outbox
from pipeline.journal.fencing import TaskLease
from pipeline.models.inbox import TelegramUpdate
from pipeline.queue.base import Claim


@dataclass(slots=True, kw_only=True)
class Turn:
    """One attempt at one update."""

    claim: Claim
    row: TelegramUpdate
    outbox: Outbox
    replied_to: int | None = None  # the message that this one is a reply to
    was_handled: bool = field(default=False)

    @property
    def lease(self) -> TaskLease:
        return TaskLease(self.claim.task_id, self.claim.token)


_current: ContextVar[Turn] = ContextVar("turn")


def begin(turn: Turn) -> None:
    """Make this the turn of the task that runs now, and of those that it starts."""
    _current.set(turn)


def current_turn() -> Turn:
    """Return the turn that a handler is called in."""
    return _current.get()
