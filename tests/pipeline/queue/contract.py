"""What every backend of the queue promises; its test needs to say only how to make and kill one.

How tasks are handed out comes first, then failures, then workers that die, then clocks.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone

from pipeline.models import Task
from pipeline.models.inbox import TaskStatus
from pipeline.queue import dispatcher, task_store
from pipeline.queue.base import COURTESY_LASTS, MAX_ATTEMPTS, POISON_SUSPECT_AFTER, PermanentFailure
from tests.pipeline.queue import rows
from tests.pipeline.queue.making import EngineMaker
from tests.pipeline.queue.merging import Pastes
from tests.pipeline.queue.rows import Clock, Hands, subject

DONE, DEAD = TaskStatus.SUCCESSFUL, TaskStatus.DEAD_LETTER
BEYOND_LEASE = task_store.LEASE + timedelta(seconds=1)
BEYOND_ROOM = 20  # of background steps: more than any backend works on at once


class HandingOut(EngineMaker):
    """Which task is worked on when, and beside which."""

    async def test_a_task_that_was_added_is_worked_on(self):
        hands, task = Hands(), await rows.message()
        async with self.at_work(hands) as queue:
            await self.add(queue, task)
            assert await rows.ended(task) == [DONE]

        assert hands.began == [subject(task)]
        await task.arefresh_from_db()
        assert (task.delivery_count, task.token) == (1, None)

    async def test_each_kind_of_task_is_worked_on_and_says_what_it_is_about(self):
        hands = Hands()
        tasks = [await rows.message(), await rows.background_step(), await rows.rerun()]
        async with self.at_work(hands) as queue:
            await self.add(queue, *tasks)
            assert await rows.ended(*tasks) == [DONE] * 3

        assert set(hands.began) == {subject(task) for task in tasks}
        assert hands.claims[tasks[2].run_id].run_id == tasks[2].run_id

    async def test_a_task_that_is_ignored_is_kept_as_such(self):
        hands, task = Hands(), await rows.message()
        event = asyncio.Event()
        event.set()
        hands.play(task, rows.after(event, TaskStatus.IGNORED))
        async with self.at_work(hands) as queue:
            await self.add(queue, task)
            assert await rows.ended(task) == [TaskStatus.IGNORED]

    async def test_a_task_of_a_transaction_that_was_rolled_back_never_is(self):
        hands, undone, kept = Hands(), await rows.message("1:"), await rows.message("2:")

        def add_in_vain() -> None:
            with transaction.atomic():
                queue.add([undone])
                transaction.set_rollback(True)

        async with self.at_work(hands) as queue:
            await sync_to_async(add_in_vain)()
            await self.add(queue, kept)
            await rows.ended(kept)

        assert hands.began == [subject(kept)]

    async def test_what_was_added_before_the_start_is_worked_on(self):
        hands, task = Hands(), await rows.message()
        await task.asave()
        async with self.at_work(hands):
            assert await rows.ended(task) == [DONE]

    async def test_one_lane_is_worked_on_in_order_and_never_two_at_once(self):
        hands, lane = Hands(), [await rows.message("1:") for _ in range(12)]
        async with self.at_work(hands) as queue:
            await self.add(queue, *lane[:6])
            await self.add(queue, *lane[6:])
            await rows.ended(*lane)

        assert hands.began == hands.ended == [subject(task) for task in lane]
        assert hands.most_at_once["message"] == 1

    async def test_lanes_are_worked_on_side_by_side(self):
        hands, tasks = Hands(), [await rows.message(f"{lane}:") for lane in range(1, 9)]
        together = asyncio.Event()
        for task in tasks:
            hands.play(task, rows.after(together))
        async with self.at_work(hands) as queue:
            await self.add(queue, *tasks)
            await rows.true(lambda: len(hands.began) == len(tasks))
            together.set()
            assert await rows.ended(*tasks) == [DONE] * len(tasks)

    async def test_control_does_not_wait_for_a_busy_lane(self):
        hands, busy, control = Hands(), await rows.message(), await rows.control()
        hands.play(busy, rows.hanging)
        async with self.at_work(hands) as queue:
            await self.add(queue, busy, await rows.message())
            await rows.true(lambda: hands.began)
            await self.add(queue, control)
            assert await rows.ended(control) == [DONE]

        assert hands.began == [subject(busy), subject(control)]

    async def test_background_steps_that_hang_delay_no_message(self):
        hands, steps = Hands(), [await rows.background_step() for _ in range(BEYOND_ROOM)]
        for step in steps:
            hands.play(step, rows.hanging)
        message = await rows.message()
        async with self.at_work(hands) as queue:
            await self.add(queue, *steps)
            await rows.true(lambda: hands.began)
            await self.add(queue, message)
            assert await rows.ended(message) == [DONE]

        assert 1 <= hands.most_at_once["step"] < BEYOND_ROOM

    async def test_a_background_step_is_worked_on(self):
        hands, step = Hands(), await rows.background_step()
        async with self.at_work(hands) as queue:
            await self.add(queue, step)
            assert await rows.ended(step) == [DONE]

    async def test_a_request_to_stop_reaches_whoever_works_on_the_task(self):
        hands, task = Hands(), await rows.message(user_id=5)
        hands.play(task, rows.hanging)
        async with self.at_work(hands) as queue:
            await self.add(queue, task)
            await rows.true(lambda: hands.began)
            assert await sync_to_async(task_store.request_stop)(1, 5, "1:")
            await asyncio.wait_for(hands.claims[subject(task)].stop.wait(), rows.PATIENCE_S)

    async def test_a_task_that_was_to_stop_before_it_began_hears_of_it(self):
        hands, task = Hands(), await rows.message()
        task.stop_requested = True
        async with self.at_work(hands) as queue:
            await self.add(queue, task)
            await rows.ended(task)

        assert hands.claims[subject(task)].stop.is_set()


class Failing(EngineMaker):
    """What becomes of a task that cannot be done."""

    async def test_a_task_that_raises_is_tried_again(self):
        hands, task = Hands(), await rows.message()

        async def second_time(claim):
            if claim.delivery_count == 1:
                raise ValueError("the first time")
            return DONE

        hands.play(task, second_time)
        async with self.at_work(hands, clock=Clock(rate=100)) as queue:
            await self.add(queue, task)
            assert await rows.ended(task) == [DONE]

        assert (len(hands.began), hands.given_up) == (2, [])

    async def test_what_a_task_failed_by_is_kept_in_words_and_as_a_type(self):
        hands, task, event = Hands(), await rows.message(), asyncio.Event()

        async def second_time(claim):
            if claim.delivery_count == 1:
                raise ValueError("the first time")
            await event.wait()
            return DONE

        hands.play(task, second_time)
        async with self.at_work(hands, clock=Clock(rate=10)) as queue:
            await self.add(queue, task)
            await hands.has_begun(task, times=2)
            await task.arefresh_from_db()
            assert (task.error, task.error_type) == ("ValueError: the first time", "ValueError")
            event.set()
            assert await rows.ended(task) == [DONE]

    async def test_a_task_that_always_raises_is_dead_in_the_end_and_that_is_told_once(self):
        hands, task, behind = Hands(), await rows.message(), await rows.message()
        hands.play(task, rows.raising(ValueError("every time")))
        async with self.at_work(hands, clock=Clock(rate=100)) as queue:
            await self.add(queue, task, behind)
            assert await rows.ended(task, behind) == [DEAD, DONE]

        assert hands.began == [subject(task)] * MAX_ATTEMPTS + [subject(behind)]
        ((what, why),) = hands.given_up
        assert (what, "every time" in why) == (subject(task), True)

    async def test_a_hopeless_task_is_dead_at_once(self):
        hands, task = Hands(), await rows.message()
        hands.play(task, rows.raising(PermanentFailure("it cannot be read")))
        async with self.at_work(hands) as queue:
            await self.add(queue, task)
            assert await rows.ended(task) == [DEAD]

        assert hands.began == [subject(task)]
        assert hands.given_up == [(subject(task), "it cannot be read")]
        await task.arefresh_from_db()
        assert (task.error, task.error_type) == ("it cannot be read", "permanent")

    async def test_a_dead_task_can_be_given_a_new_life(self):
        hands, task = Hands(), await rows.message()
        hands.play(task, rows.raising(PermanentFailure("not yet")))
        async with self.at_work(hands) as queue:
            await self.add(queue, task)
            await rows.ended(task)
            hands.play(task, rows.done)
            assert await sync_to_async(task_store.try_again)(task)
            assert not await sync_to_async(task_store.try_again)(task)
            assert await rows.ended(task) == [DONE]

        await task.arefresh_from_db()
        assert task.delivery_count == 1

    async def test_a_message_that_is_given_a_new_life_holds_up_no_other_of_its_lane(self):
        hands, event = Hands(), asyncio.Event()
        revived, busy, after = [await rows.message() for _ in range(3)]
        hands.play(revived, rows.raising(PermanentFailure("not yet")))
        hands.play(busy, rows.after(event))
        async with self.at_work(hands) as queue:
            await self.add(queue, revived)
            await rows.ended(revived)
            await self.add(queue, busy, after)
            await hands.has_begun(busy)
            hands.play(revived, rows.done)
            assert await sync_to_async(task_store.try_again)(revived)
            event.set()
            assert await rows.ended(revived, busy, after) == [DONE] * 3

        assert hands.most_at_once["message"] == 1

    async def test_a_stop_waits_for_what_ends_in_time(self):
        hands, task, event = Hands(), await rows.message(), asyncio.Event()
        hands.play(task, rows.after(event))
        async with self.at_work(hands) as queue:
            await self.add(queue, task)
            await rows.true(lambda: hands.began)
            asyncio.get_running_loop().call_later(0.1, event.set)
            await queue.close(within_s=rows.PATIENCE_S)

        assert await rows.ended(task) == [DONE]

    async def test_a_stop_hands_back_what_does_not_end_in_time_and_counts_no_attempt(self):
        hands, task, event = Hands(), await rows.message(), asyncio.Event()
        hands.play(task, rows.after(event))
        async with self.at_work(hands) as queue:
            await self.add(queue, task)
            await rows.true(lambda: hands.began)
            await queue.close(within_s=0)

            await task.arefresh_from_db()
            assert (task.status, task.delivery_count) == (TaskStatus.READY, 0)
        event.set()
        async with self.at_work(hands, "elsewhere"):
            assert await rows.ended(task) == [DONE]
        assert len(hands.cancelled) == 1


class Dying(EngineMaker):
    """What becomes of a task whose worker is gone, or taken for gone."""

    async def test_what_a_dead_worker_had_in_hand_is_its_successors_at_once(self):
        hands, task = Hands(), await rows.message()
        hands.play(task, rows.hanging)
        async with self.at_work(hands) as queue:
            await self.add(queue, task)
            await rows.true(lambda: hands.began)
            await self.kill(queue)
            hands.play(task, rows.done)
            async with self.at_work(hands):
                assert await rows.ended(task) == [DONE]

        assert len(hands.began) == 2

    async def test_before_its_lease_is_over_no_other_worker_takes_it(self):
        hands, task, other = Hands(), await rows.message("1:"), await rows.message("2:")
        hands.play(task, rows.hanging)
        clock = Clock(rate=0)
        async with self.at_work(hands, clock=clock) as queue:
            await self.add(queue, task)
            await rows.true(lambda: hands.began)
            await self.kill(queue)
            clock.jump(task_store.LEASE / 2)
            async with self.at_work(hands, "elsewhere", clock) as second:
                await self.add(second, other)
                await rows.ended(other)

        assert hands.began == [subject(task), subject(other)]

    async def test_after_its_lease_is_over_another_worker_does_it(self):
        hands, task = Hands(), await rows.message()
        hands.play(task, rows.hanging)
        async with self.at_work(hands) as queue:
            await self.add(queue, task)
            await rows.true(lambda: hands.began)
            await self.kill(queue)
            hands.play(task, rows.done)
            async with self.at_work(hands, "elsewhere", Clock(ahead=BEYOND_LEASE)):
                assert await rows.ended(task) == [DONE]

    async def test_a_worker_that_comes_late_changes_nothing(self):
        for late in (
            rows.done,
            rows.raising(ValueError("late")),
            rows.raising(PermanentFailure("late")),
        ):
            hands, task = Hands(), await rows.message()
            awake, second = asyncio.Event(), asyncio.Event()

            async def sleeping(claim, awake=awake, late=late):
                await awake.wait()
                return await late(claim)

            hands.play(task, sleeping)
            async with self.at_work(hands) as queue:
                await self.add(queue, task)
                await hands.has_begun(task)
                await self.kill(queue)
                hands.play(task, rows.after(second, TaskStatus.IGNORED))
                async with self.at_work(hands):
                    await hands.has_begun(task, times=2)
                    awake.set()
                    await queue.close(within_s=1)  # the ghost is done
                    await task.arefresh_from_db()
                    assert (task.status, hands.given_up) == (TaskStatus.RUNNING, [])
                    second.set()
                    assert await rows.ended(task) == [TaskStatus.IGNORED]

    async def test_a_task_lost_to_another_worker_is_cancelled(self):
        hands, task = Hands(), await rows.message()
        hands.play(task, rows.hanging)
        async with self.at_work(hands) as queue:
            await self.add(queue, task)
            await hands.has_begun(task)
            theirs = {"worker": "elsewhere", "token": uuid4()}
            await Task.objects.filter(pk=task.pk).aupdate(**theirs)
            await rows.true(lambda: hands.cancelled)

        assert hands.began == hands.cancelled == [subject(task)]
        assert await Task.objects.filter(status=TaskStatus.RUNNING, **theirs).acount() == 1

    async def test_a_worker_that_claims_anew_what_it_lost_works_on_it_once(self):
        hands, task, event = Hands(), await rows.message(), asyncio.Event()
        hands.play(task, rows.hanging)
        # It is not a later look at the row that ends the first work, which may come too late.
        self.timings = replace(self.timings, stop_every_s=2 * rows.PATIENCE_S)
        async with self.at_work(hands) as queue:
            await self.add(queue, task)
            await hands.has_begun(task)
            hands.play(task, rows.after(event))
            other = self.backend("elsewhere", Clock(ahead=BEYOND_LEASE))
            assert isinstance(other, dispatcher.Dispatcher)
            await sync_to_async(other._store.free_expired)([])
            await hands.has_begun(task, times=2)
            await rows.true(lambda: hands.cancelled)
            event.set()
            assert await rows.ended(task) == [DONE]

        assert hands.began == [subject(task)] * 2
        assert hands.cancelled == hands.ended == [subject(task)]
        assert hands.most_at_once["message"] == 1

    async def test_a_task_that_kills_its_workers_is_given_up_and_the_innocent_are_not(self):
        hands, life = Hands(), 0
        killer, innocent = (
            await rows.message("9:"),
            [await rows.message(f"{n}:") for n in (1, 2, 3)],
        )

        async def dying_beside_the_killer(claim):
            if life <= 2:  # all of them are under way then
                await hands.has_begun(killer, times=life)
            await asyncio.sleep(0.05)  # later each has the worker to itself, or dies with it
            if hands.began.count(subject(killer)) == life:
                await rows.hanging(claim)
            return DONE

        hands.play(killer, rows.hanging)
        for task in innocent:
            hands.play(task, dying_beside_the_killer)
        queues = [self.backend("here", timezone.now) for _ in range(MAX_ATTEMPTS)]
        await self.add(queues[0], innocent[0], killer, *innocent[1:])
        for life, queue in enumerate(queues, start=1):
            await queue.start(hands.perform, hands.give_up)
            await hands.has_begun(killer, times=life)
            for task in innocent if life <= 2 else ():  # later one suspect at a time
                await hands.has_begun(task, times=life)
            await self.kill(queue)
        life += 1
        async with self.at_work(hands):
            assert await rows.ended(killer, *innocent) == [DEAD, DONE, DONE, DONE]
        for queue in queues:
            await queue.close(0)

        assert [what for what, _ in hands.given_up] == [subject(killer)]
        assert hands.began.count(subject(killer)) == MAX_ATTEMPTS

    async def test_a_short_task_that_may_kill_its_workers_holds_up_no_message(self):
        hands, control, after = Hands(), await rows.control(), await rows.message("2:")
        control.delivery_count = POISON_SUSPECT_AFTER
        hands.play(control, rows.hanging)
        self.timings = replace(self.timings, alone_s=2 * rows.PATIENCE_S)
        async with self.at_work(hands) as queue:
            await self.add(queue, control)
            await hands.has_begun(control)
            await self.add(queue, after)
            assert await rows.ended(after) == [DONE]

    async def test_suspects_of_different_chats_run_side_by_side_each_after_a_moment_alone(self):
        hands, together = Hands(), asyncio.Event()
        suspects = [await rows.message(f"{lane}:") for lane in (1, 2, 3)]
        innocent, began_at = await rows.message("4:"), list[float]()

        async def noted(claim):
            began_at.append(time.monotonic())
            await together.wait()
            return DONE

        for task in suspects:
            task.delivery_count = POISON_SUSPECT_AFTER
            hands.play(task, noted)
        self.timings = replace(self.timings, alone_s=0.3)
        async with self.at_work(hands) as queue:
            await self.add(queue, *suspects, innocent)
            await rows.true(lambda: len(began_at) == len(suspects))
            together.set()
            assert await rows.ended(*suspects, innocent) == [DONE] * 4

        assert min(b - a for a, b in pairwise(began_at)) >= 0.29
        assert hands.began.index(subject(innocent)) < 3  # nor did they keep it waiting for all

    async def test_a_suspect_courtesy_and_one_that_comes_too_late_end_without_a_turn(self):
        hands, after = Hands(), await rows.message("2:")
        suspect, late, good = [await rows.notice(f"{lane}:") for lane in (1, 3, 4)]
        suspect.delivery_count = POISON_SUSPECT_AFTER
        late.created_at -= COURTESY_LASTS
        async with self.at_work(hands) as queue:
            await self.add(queue, suspect, late, good, after)
            ended = await rows.ended(suspect, late, good, after)

        assert ended == [TaskStatus.IGNORED, TaskStatus.IGNORED, DONE, DONE]
        assert set(hands.began) == {subject(good), subject(after)}

    async def test_notices_are_handed_out_after_everything_else(self):
        hands, notice, control = Hands(), await rows.notice("1:"), await rows.control()
        tasks = [notice, control, await rows.message("2:")]
        for task in tasks:
            await task.asave()
        async with self.at_work(hands):
            await rows.ended(*tasks)

        assert hands.began[-1] == subject(notice)


class Clocks(EngineMaker):
    """A clock that jumps: nothing is lost, done twice or put off for long."""

    async def test_a_clock_that_jumps_costs_nothing(self):
        for jump in (timedelta(hours=1), timedelta(days=-1)):
            hands, clock, event = Hands(), Clock(), asyncio.Event()
            held, failing, after = [await rows.message(f"{lane}:") for lane in (1, 2, 3)]
            hands.play(held, rows.after(event))

            async def jumping(claim, clock=clock, jump=jump):
                if claim.delivery_count == 1:
                    raise ValueError("just before the clock jumps")
                return DONE

            hands.play(failing, jumping)
            began_at = time.monotonic()
            async with self.at_work(hands, clock=clock) as queue:
                await self.add(queue, held, failing)
                await hands.has_begun(held)
                await rows.put_back(failing)
                clock.jump(jump)
                await self.add(queue, after)
                assert await rows.ended(failing, after) == [DONE, DONE]
                event.set()
                assert await rows.ended(held) == [DONE]

            assert len(hands.began) == 4
            assert time.monotonic() - began_at < rows.PATIENCE_S  # and not an hour or a day


class QueueContract(HandingOut, Failing, Dying, Pastes, Clocks):
    """All of it."""
