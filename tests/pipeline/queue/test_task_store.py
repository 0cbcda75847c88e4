"""What a look finds, whose message a request to stop is about, and which tasks become free."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.test import TestCase
from django.utils import timezone

from pipeline.models import Task
from pipeline.models.inbox import TaskKind, TaskStatus
from pipeline.queue import task_store
from pipeline.queue.base import MAX_ATTEMPTS, Claimed
from pipeline.queue.task_store import TaskStore
from tests.pipeline.queue import rows

MAYA, TOM = 5, 6
stop = sync_to_async(task_store.request_stop)


class RequestStopTests(TestCase):
    async def kept(self, lane: str = "1:", *, of: int = MAYA, **changes: object) -> Task:
        task = await rows.message(lane, user_id=of)
        for name, value in changes.items():
            setattr(task, name, value)
        await task.asave()
        return task

    async def test_the_askers_oldest_open_message_of_the_lane_is_stopped(self):
        await self.kept(of=TOM)
        oldest, newer = await self.kept(), await self.kept()

        assert await stop(1, MAYA, "1:")

        await oldest.arefresh_from_db()
        await newer.arefresh_from_db()
        assert (oldest.stop_requested, newer.stop_requested) == (True, False)

    async def test_what_is_another_persons_or_elsewhere_or_over_is_left_alone(self):
        await self.kept(of=TOM)
        await self.kept("1:77")
        await self.kept("2:")
        await self.kept(status=TaskStatus.SUCCESSFUL)
        await self.kept(status=TaskStatus.DEAD_LETTER)

        assert not await stop(1, MAYA, "1:")
        assert not await Task.objects.filter(stop_requested=True).aexists()

    async def test_a_second_request_is_about_the_next_message(self):
        first, second = await self.kept(), await self.kept()

        asked = [await stop(1, MAYA, "1:") for _ in range(3)]

        assert asked == [True, True, False]
        await first.arefresh_from_db()
        await second.arefresh_from_db()
        assert (first.stop_requested, second.stop_requested) == (True, True)


class LookTests(TestCase):
    """What one look at the tasks costs and finds."""

    ROOM = dict.fromkeys(TaskKind, 2)

    async def test_a_look_that_finds_nothing_is_one_statement(self):
        await sync_to_async(self._assert_statements)(1)

    def _assert_statements(self, count: int) -> None:
        with self.assertNumQueries(count):
            assert TaskStore("here", timezone.now).claim(self.ROOM) == Claimed([])

    async def test_of_each_kind_it_takes_the_oldest_for_which_there_is_room(self):
        messages = [await self.kept(await rows.message(f"{lane}:")) for lane in (1, 2, 3)]
        steps = [await self.kept(await rows.background_step()) for _ in range(3)]
        control = await self.kept(await rows.control())

        claimed = await sync_to_async(TaskStore("here", timezone.now).claim)(self.ROOM)

        taken = {claim.task_id for claim in claimed.claims}
        assert taken == {task.pk for task in (*messages[:2], *steps[:2], control)}

    async def test_what_another_worker_had_since_it_was_read_is_left_alone(self):
        task = await self.kept(await rows.message())
        store = TaskStore("here", timezone.now)
        await Task.objects.filter(pk=task.pk).aupdate(
            delivery_count=1
        )  # it took it and put it back

        assert await sync_to_async(store._take)(task, timezone.now()) is None

    async def test_a_message_waits_for_one_before_it_that_was_given_a_new_life_meanwhile(self):
        before, task = await self.kept(await rows.message()), await self.kept(await rows.message())
        store = TaskStore("here", timezone.now)
        await Task.objects.filter(pk=before.pk).aupdate(status=TaskStatus.DEAD_LETTER)
        await before.arefresh_from_db()
        assert await sync_to_async(task_store.try_again)(before)

        assert await sync_to_async(store._take)(task, timezone.now()) is None

    async def kept(self, task: Task) -> Task:
        await task.asave()
        return task


class FreeExpiredTests(TestCase):
    async def running(self, lane: str, worker: str) -> Task:
        task = await rows.message(lane)
        task.status, task.worker, task.token = TaskStatus.RUNNING, worker, uuid4()
        task.lease_until = timezone.now()
        await task.asave()
        return task

    async def test_a_clock_that_jumped_ahead_frees_nothing_that_is_in_hand(self):
        mine, silent = await self.running("1:", "here"), await self.running("2:", "elsewhere")

        assert mine.token is not None
        jumped = TaskStore("here", lambda: timezone.now() + timedelta(days=1))
        freed = await sync_to_async(jumped.free_expired)([mine.token])

        assert freed == 1
        await mine.arefresh_from_db()
        await silent.arefresh_from_db()
        assert (mine.status, silent.status) == (TaskStatus.RUNNING, TaskStatus.READY)

    async def test_a_claim_that_its_worker_never_heard_of_is_freed(self):
        """The database went away between the commit and its answer."""
        unheard_of = await self.running("1:", "here")

        later = TaskStore("here", lambda: timezone.now() + 2 * task_store.LEASE)
        await sync_to_async(later.free_expired)([uuid4()])

        await unheard_of.arefresh_from_db()
        assert unheard_of.status == TaskStatus.READY


class SuspectTests(TestCase):
    """Tasks whose workers died so often, claimed by a worker that takes so many deaths at most."""

    async def claimed(self, deaths: int, most_deaths: int) -> bool:
        task = await rows.message()
        task.delivery_count = deaths
        await task.asave()
        claim = TaskStore("here", timezone.now).claim
        found = await sync_to_async(claim)({TaskKind.MESSAGE: 5}, most_deaths=most_deaths)
        await task.adelete()
        return bool(found.claims)

    async def test_the_more_often_its_workers_died_the_longer_it_waits(self):
        taken = {most: [await self.claimed(n, most) for n in (2, 3, 4)] for most in (0, 2, 3, 4)}

        assert taken == {
            0: [False, False, False],
            2: [True, False, False],
            3: [True, True, False],
            4: [True, True, True],
        }

    async def test_one_that_has_had_all_attempts_waits_for_the_first_calm_only(self):
        assert [await self.claimed(MAX_ATTEMPTS, most) for most in (0, 2)] == [False, True]

    async def test_what_was_there_at_one_death_is_no_suspect(self):
        assert await self.claimed(1, 0)
