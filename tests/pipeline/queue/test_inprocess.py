"""The backend for one machine keeps the contract, also when several of them share a database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections
from django.test import TransactionTestCase, override_settings
from django.utils import timezone

from agents.cancelling import end
from pipeline.models import Task
from pipeline.models.inbox import TaskStatus
from pipeline.queue.base import Claim, Queue
from pipeline.queue.inprocess import InProcessQueue
from tests.pipeline.queue import rows
from tests.pipeline.queue.contract import QueueContract

ENGINES, LANES, PER_LANE = 4, 25, 4
AT_ONCE = 8  # of a backend: fewer than there are lanes, so that none can do without the others


class InProcessQueueTests(QueueContract, TransactionTestCase):
    def backend(self, worker: str, clock: Callable[[], datetime]) -> Queue:
        return InProcessQueue(worker, clock=clock, timings=self.timings)

    async def kill(self, queue: Queue) -> None:
        assert isinstance(queue, InProcessQueue)
        await end(queue._loops)


@override_settings(RUNS_AT_ONCE=AT_ONCE)
class RaceTests(TransactionTestCase):
    """Backends in threads of their own, each with its own connections, as processes would be."""

    async def test_every_task_is_claimed_by_one_worker_only(self):
        tasks = [await rows.message(f"{lane}:") for _ in range(PER_LANE) for lane in range(LANES)]
        await Task.objects.abulk_create(tasks)
        done_by: list[tuple[int, str]] = []

        async def life(worker: str) -> None:
            async def perform(claim: Claim) -> TaskStatus:
                done_by.append((claim.task_id, worker))
                while len({name for _, name in done_by}) == 1:  # noqa: ASYNC110 - other loops
                    await asyncio.sleep(0.001)
                return TaskStatus.SUCCESSFUL

            async def give_up(claim: Claim, why: str) -> None:
                raise AssertionError(why)

            async with ThreadSensitiveContext():
                queue = InProcessQueue(worker, clock=timezone.now)
                try:
                    await queue.start(perform, give_up)
                    await rows.ended(*tasks)
                finally:
                    await queue.close(1)
                    await sync_to_async(connections.close_all)()

        def in_a_thread(number: int) -> None:
            asyncio.run(life(f"worker {number}"))

        loop = asyncio.get_running_loop()
        await asyncio.gather(
            *(loop.run_in_executor(None, in_a_thread, number) for number in range(ENGINES))
        )

        assert sorted(task_id for task_id, _ in done_by) == sorted(task.pk for task in tasks)
        async for task in Task.objects.all():
            assert (task.status, task.delivery_count) == (TaskStatus.SUCCESSFUL, 1)
