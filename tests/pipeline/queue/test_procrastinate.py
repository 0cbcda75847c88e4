"""The backend for many machines keeps the contract; and what only it has to do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from unittest.mock import patch

import pytest
import time_machine
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection
from django.test import TransactionTestCase
from django.utils import timezone

from agents.cancelling import end
from pipeline.models import Task
from pipeline.models.inbox import TaskKind, TaskStatus
from pipeline.queue.base import Queue, Timings
from pipeline.queue.procrastinate import LockedTaskStore, ProcrastinateQueue
from tests.pipeline.queue import rows
from tests.pipeline.queue.contract import QueueContract
from tests.pipeline.queue.rows import Hands


def jobs() -> list[tuple[str, str | None, str]]:
    """Return queue, lock and status of every job."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT queue_name, lock, status FROM procrastinate_jobs ORDER BY id")
        return list(cursor.fetchall())


def delete_jobs() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")


@pytest.mark.postgresql
class ProcrastinateQueueTests(QueueContract, TransactionTestCase):
    def setUp(self) -> None:
        super().setUp()
        delete_jobs()  # the library's tables are not the suite's to flush

    def backend(self, worker: str, clock: Callable[[], datetime]) -> Queue:
        return ProcrastinateQueue(worker, clock=clock, timings=self.timings)

    async def kill(self, queue: Queue) -> None:
        assert isinstance(queue, ProcrastinateQueue)
        await end(queue._loops)


@pytest.mark.postgresql
class JobTests(TransactionTestCase):
    def setUp(self) -> None:
        delete_jobs()

    async def test_a_job_goes_with_its_task_and_only_messages_have_a_lock(self):
        hands, queue = Hands(), ProcrastinateQueue("here", timings=Timings(settle_s=0.1))
        tasks = [await rows.message("7:3"), await rows.control(), await rows.background_step()]
        await sync_to_async(queue.add)(tasks)

        assert await sync_to_async(jobs)() == [
            ("message", "lane:7:3", "todo"),
            ("control", None, "todo"),
            ("step", None, "todo"),
        ]
        await queue.start(hands.perform, hands.give_up)
        assert await rows.ended(*tasks) == [TaskStatus.SUCCESSFUL] * 3
        await queue.close(1)
        assert await sync_to_async(jobs)() == []

    async def test_a_task_without_a_job_gets_one(self):
        hands, queue = Hands(), ProcrastinateQueue("here", timings=Timings(settle_s=0.1))
        task = await rows.message()
        await task.asave()
        await queue.start(hands.perform, hands.give_up)

        assert await rows.ended(task) == [TaskStatus.SUCCESSFUL]
        await queue.close(1)

    async def test_a_job_whose_task_was_erased_lets_go_of_its_lane(self):
        hands, queue = Hands(), ProcrastinateQueue("here", timings=Timings(settle_s=0.1))
        erased, after = await rows.message(), await rows.message()
        await sync_to_async(queue.add)([erased, after])
        with_a_ghost = "UPDATE procrastinate_jobs SET status = 'doing' WHERE args->>'task_id' = %s"

        def erase() -> None:
            with connection.cursor() as cursor:
                cursor.execute(with_a_ghost, [str(erased.pk)])
            Task.objects.filter(pk=erased.pk).delete()

        await sync_to_async(erase)()
        await queue.start(hands.perform, hands.give_up)

        assert await rows.ended(after) == [TaskStatus.SUCCESSFUL]
        await queue.close(1)
        assert await sync_to_async(jobs)() == []

    async def test_what_was_claimed_before_the_database_went_away_is_worked_on(self):
        queue = ProcrastinateQueue("here", timings=Timings(settle_s=0.1))
        tasks = [await rows.message(f"{lane}:") for lane in (1, 2)]
        await sync_to_async(queue.add)(tasks)
        fetch, seen = LockedTaskStore._fetch, count(1)

        def failing_the_second_time(claims: LockedTaskStore, *arguments: Any, **more: Any) -> Any:
            if next(seen) == 2:
                raise OperationalError("the connection is gone")
            return fetch(claims, *arguments, **more)

        with patch.object(LockedTaskStore, "_fetch", failing_the_second_time):
            claimed = await sync_to_async(queue._store.claim)({TaskKind.MESSAGE: 5})

        assert [claim.task_id for claim in claimed.claims] == [tasks[0].pk]

    async def test_leases_go_by_the_databases_clock(self):
        queue = ProcrastinateQueue("here", timings=Timings(settle_s=0.1))

        with time_machine.travel(timezone.now() + timedelta(days=2)):
            renewed_at = await sync_to_async(queue._store.renew)([])
            ahead = timezone.now() - renewed_at

        assert ahead > timedelta(days=1)
