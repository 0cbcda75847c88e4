"""The choice of the queue's backend: the only module that reads the setting QUEUE."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings

from pipeline.models.inbox import Task
from pipeline.queue.base import TIMINGS, Queue, Timings
from pipeline.queue.inprocess import InProcessQueue
from pipeline.queue.procrastinate import ProcrastinateQueue

BACKENDS = {"inprocess": InProcessQueue, "procrastinate": ProcrastinateQueue}
NEEDS_WORKERS = frozenset({"procrastinate"})  # the bot's process only receives updates


def create_queue(worker: str, timings: Timings = TIMINGS) -> Queue:
    """Return the queue for this worker; until it is started, it only accepts tasks."""
    return BACKENDS[settings.QUEUE](worker, timings=timings)


def add_tasks(tasks: Sequence[Task]) -> None:
    """Add tasks in the caller's transaction, from a process that runs no tasks."""
    create_queue("web").add(tasks)


def has_workers_of_its_own() -> bool:
    """Tell whether `runworker` processes run the tasks, rather than the bot's process."""
    return settings.QUEUE in NEEDS_WORKERS
