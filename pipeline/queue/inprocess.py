"""The backend for one machine: needs nothing but the database, SQLite included."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.utils import timezone

from pipeline.queue.dispatcher import Dispatcher
from pipeline.queue.task_store import TaskStore


class InProcessQueue(Dispatcher):
    """A queue that is worked on by one process; what others add is found within half a second."""

    def __init__(self, worker: str, *, clock: Callable[[], datetime] = timezone.now) -> None:
        """See `TaskStore` for the worker."""
        super().__init__(TaskStore(worker, clock))
