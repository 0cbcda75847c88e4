"""Which backend the queue runs on: the one place that reads the setting QUEUE."""

from __future__ import annotations

from django.conf import settings

from pipeline.queue.base import Queue
from pipeline.queue.inprocess import InProcessQueue
from pipeline.queue.procrastinate import ProcrastinateQueue

ENGINES = {"inprocess": InProcessQueue, "procrastinate": ProcrastinateQueue}
NEEDS_WORKERS = frozenset({"procrastinate"})  # the bot's process only takes updates in


def create_queue(worker: str) -> Queue:
    """Return the queue as that worker sees it; until it is started it only takes tasks in."""
    return ENGINES[settings.QUEUE](worker)


def has_workers_of_its_own() -> bool:
    """Tell whether tasks are done by `runworker` processes, and not by the bot's."""
    return settings.QUEUE in NEEDS_WORKERS
