"""The backend for one machine: needs nothing but the database, SQLite included."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.utils import timezone

from pipeline.queue.base import TIMINGS, Timings
from pipeline.queue.dispatcher import Dispatcher
from pipeline.queue.task_store import TaskStore


class InProcessQueue(Dispatcher):
    """A queue that one process works on; tasks added by others are found within half a second."""

    def __init__(
        self,
        worker: str,
        *,
        clock: Callable[[], datetime] = timezone.now,
        timings: Timings = TIMINGS,
    ) -> None:
        """See `TaskStore` for the meaning of `worker`."""
        super().__init__(TaskStore(worker, clock), timings)
