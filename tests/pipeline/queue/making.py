"""How a test of the queue's contract gets its backends, and how they die."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone

from pipeline.models import Task
from pipeline.queue.base import Queue, Timings
from tests.pipeline.queue.rows import Hands


class EngineMaker:
    """How a test gets its backends, and how they die."""

    # What waits for calm after a death or an outage does so, but not for seconds.
    timings = Timings(settle_s=0.1, calm_s=0.1)

    def backend(self, worker: str, clock: Callable[[], datetime]) -> Queue:
        """Return a backend whose work is done by this process."""
        raise NotImplementedError

    async def kill(self, queue: Queue) -> None:
        """End a backend as SIGKILL would: nothing is written, work goes on as that of a ghost."""
        raise NotImplementedError

    @asynccontextmanager
    async def at_work(
        self, hands: Hands, worker: str = "here", clock: Callable[[], datetime] = timezone.now
    ) -> AsyncIterator[Queue]:
        """Run a backend until the block ends."""
        queue = self.backend(worker, clock)
        await queue.start(hands.perform, hands.give_up)
        try:
            yield queue
        finally:
            await queue.close(0)

    async def add(self, queue: Queue, *tasks: Task) -> None:
        await sync_to_async(transaction.atomic(queue.add))(tasks)
