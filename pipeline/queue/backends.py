"""Which backend the queue runs on: the one place that reads the setting QUEUE."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings

from pipeline.models.inbox import Task
from pipeline.queue.base import Queue
from pipeline.queue.inprocess import InProcessQueue
from pipeline.queue.procrastinate import ProcrastinateQueue

BACKENDS = {"inprocess": InProcessQueue, "procrastinate": ProcrastinateQueue}
NEEDS_WORKERS = frozenset({"procrastinate"})  # the bot's process only takes updates in


def create_queue(worker: str) -> Queue:
    """Return the queue as that worker sees it; until it is started it only takes tasks in."""
    return BACKENDS[settings.QUEUE](worker)


def add_tasks(tasks: Sequence[Task]) -> None:
    """Add tasks in the caller's transaction, from a process that works on none."""
    create_queue("web").add(tasks)


def has_workers_of_its_own() -> bool:
    """Tell whether tasks are done by `runworker` processes, and not by the bot's."""
    return settings.QUEUE in NEEDS_WORKERS
