"""How fast the bot talks: a chat that is told to wait keeps no other waiting."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from unittest.mock import patch

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from django.test import SimpleTestCase, TestCase
from telegram.error import RetryAfter

from agents.database_identity import read_identity
from pipeline.bot import limiter, rate_slots
from pipeline.bot.limiter import (
    DROPPED_AFTER_S,
    IN_ANY_SECOND,
    MAX_PLACEHOLDERS,
    Bucket,
    ChatRateLimiter,
    Rank,
    Ticket,
)
from pipeline.bot.rate_slots import RateSlots
from tests.servers import redis_server

MAYA, TOM, GROUP = 1001, 1002, -1001


class Telegram:
    """Takes calls, and tells a chat to wait when a test says so."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.taken_at: list[float] = []
        self.takes_s = 0.0
        self.answer: Any = True
        self.told_to_wait: dict[Any, list[float]] = {}

    async def take(self, chat_id: Any) -> Any:
        if self.told_to_wait.get(chat_id):
            raise RetryAfter(self.told_to_wait[chat_id].pop())  # type: ignore[arg-type]
        await asyncio.sleep(self.takes_s)
        self.taken.append(chat_id)
        self.taken_at.append(time.monotonic())
        return self.answer


def droppable() -> Ticket:
    return Ticket(rank=Rank.PROGRESS, within_s=DROPPED_AFTER_S)


class LimiterTests(SimpleTestCase):
    def setUp(self) -> None:
        self.telegram = Telegram()
        self.limiter = ChatRateLimiter()

    async def call(
        self, chat_id: Any, endpoint: str = "sendMessage", ticket: Ticket | None = None
    ) -> Any:
        return await self.limiter.process_request(
            self.telegram.take, [chat_id], {}, endpoint, {"chat_id": chat_id}, ticket
        )

    async def test_one_chat_waits_and_the_others_do_not(self):
        self.telegram.told_to_wait[MAYA] = [0.3]
        waiting = asyncio.create_task(self.call(MAYA))
        await asyncio.sleep(0)

        for _ in range(3):
            await self.call(TOM)
        assert self.telegram.taken == [TOM] * 3

        await waiting
        assert self.telegram.taken == [TOM] * 3 + [MAYA]

    async def test_what_is_droppable_is_dropped_while_its_chat_waits(self):
        self.telegram.told_to_wait[MAYA] = [60]
        with pytest.raises(RetryAfter):
            await self.call(MAYA, ticket=droppable())

        with pytest.raises(RetryAfter):
            await self.call(MAYA, ticket=droppable())
        await self.call(TOM, ticket=droppable())
        assert self.telegram.taken == [TOM]

    async def test_answers_to_presses_are_not_limited(self):
        with patch.object(limiter, "PRIVATE", (1, 0.001)):
            for _ in range(5):
                await self.call(MAYA, "answerCallbackQuery")

        assert len(self.telegram.taken) == 5

    async def test_no_second_has_more_than_thirty_calls(self):
        await asyncio.gather(*(self.call(chat_id) for chat_id in range(1, 71)))

        at = self.telegram.taken_at
        assert len(at) == 70
        assert all(later - earlier >= 1.0 for earlier, later in zip(at, at[30:], strict=False))

    async def test_a_call_under_way_counts_for_as_long_as_it_takes_and_a_second_more(self):
        with patch.dict(limiter.IN_ANY_SECOND, {Rank.ANSWER: 1}):
            self.telegram.takes_s = 0.2
            await asyncio.gather(self.call(MAYA), self.call(TOM))

        first, second = self.telegram.taken_at  # when each of them ended
        assert second - first >= 1.0 + 0.2

    async def test_answers_go_before_progress_and_progress_before_notices(self):
        with patch.dict(limiter.IN_ANY_SECOND, dict.fromkeys(Rank, 1)):
            await self.call(1)
            ranks = [Rank.NOTICE, Rank.PROGRESS, Rank.ANSWER]
            waiting = [
                asyncio.create_task(self.call(10 + rank, ticket=Ticket(rank=rank)))
                for rank in ranks
            ]
            await asyncio.gather(*waiting)

        assert self.telegram.taken == [1, 10, 11, 12]

    async def test_a_part_of_each_second_is_kept_for_what_goes_first(self):
        for chat_id in range(IN_ANY_SECOND[Rank.NOTICE]):
            await self.call(chat_id + 1)

        with pytest.raises(RetryAfter):
            await self.call(500, ticket=Ticket(rank=Rank.NOTICE, within_s=0.01))
        await self.call(501, ticket=droppable())
        assert self.telegram.taken[-1] == 501

    async def test_few_placeholders_are_on_their_way_at_once_and_answers_go_beside_them(self):
        under_way: list[int] = []
        let_through, has_answer = asyncio.Event(), asyncio.Event()

        async def take(chat_id: int) -> None:
            under_way.append(chat_id)
            if chat_id == answer:
                has_answer.set()
            await let_through.wait()

        def call(chat_id: int, rank: Rank) -> asyncio.Task[Any]:
            ticket = Ticket(rank=rank, is_placeholder=rank is Rank.PROGRESS)
            request = {"chat_id": chat_id}
            return asyncio.create_task(
                self.limiter.process_request(take, [chat_id], {}, "sendMessage", request, ticket)
            )

        placeholders, answer = range(1, MAX_PLACEHOLDERS + 4), 99
        calls = [call(number, Rank.PROGRESS) for number in placeholders]
        calls.append(call(answer, Rank.ANSWER))
        await asyncio.wait_for(has_answer.wait(), 10)
        assert len(under_way) == MAX_PLACEHOLDERS + 1

        let_through.set()
        await asyncio.gather(*calls)
        assert sorted(under_way) == [*placeholders, answer]

    async def test_a_call_that_is_called_off_while_it_waits_takes_no_place(self):
        with patch.dict(limiter.IN_ANY_SECOND, {Rank.ANSWER: 1}):
            await self.call(1)
            called_off, next_one = [asyncio.create_task(self.call(n)) for n in (2, 3)]
            await asyncio.sleep(0)
            called_off.cancel()
            await next_one

        assert self.telegram.taken == [1, 3]

    async def test_what_is_to_be_done_before_a_call_leaves_is_told_the_newest_message(self):
        told = []

        async def leaving(newest_id: int) -> None:
            told.append((newest_id, list(self.telegram.taken)))

        self.limiter.note(40)
        for chat_id in (MAYA, TOM, GROUP):
            self.telegram.answer = {"message_id": 50 + chat_id}
            await self.call(chat_id, ticket=Ticket(leaving=leaving))

        assert told == [(40, []), (50 + MAYA, [MAYA]), (0, [MAYA, TOM])]


class BucketTests(SimpleTestCase):
    def test_a_burst_goes_at_once_and_the_rest_at_the_steady_rate(self):
        bucket = Bucket(burst=3, per_s=2.0, now=100.0)

        assert [bucket.take(100.0) for _ in range(5)] == [100.0, 100.0, 100.0, 100.5, 101.0]

    def test_a_pause_gives_the_burst_back_and_no_more(self):
        bucket = Bucket(burst=2, per_s=1.0, now=0.0)
        for _ in range(2):
            bucket.take(0.0)

        assert [bucket.take(1000.0) for _ in range(3)] == [1000.0, 1000.0, 1001.0]

    def test_what_it_would_have_to_wait_is_told_without_taking_the_place(self):
        bucket = Bucket(burst=1, per_s=1.0, now=0.0)
        bucket.take(0.0)

        assert (bucket.wait_s(0.0), bucket.wait_s(0.0), bucket.take(0.0)) == (1.0, 1.0, 1.0)

    def test_a_group_is_slower_than_a_private_chat(self):
        burst, private_per_s = limiter.PRIVATE
        _, group_per_s = limiter.GROUP

        assert group_per_s * 60 <= 20 < private_per_s * 60
        assert burst <= 20  # what Telegram tolerates


class SharedTests(SimpleTestCase):
    """Two processes' limiters on one Redis."""

    def setUp(self) -> None:
        self.telegram = Telegram()
        self.redis = self.enterContext(redis_server())

    async def call(self, by: ChatRateLimiter, chat_id: int, *, is_droppable: bool = True) -> Any:
        ticket = droppable() if is_droppable else None
        return await by.process_request(
            self.telegram.take, [chat_id], {}, "editMessageText", {"chat_id": chat_id}, ticket
        )

    def limiters(self) -> list[ChatRateLimiter]:
        return [self.limiter(), self.limiter()]

    def limiter(self, identity: str = "a database", bot_id: int = 1) -> ChatRateLimiter:
        return ChatRateLimiter(shared=RateSlots(self.redis.url, bot_id, lambda: identity))

    async def test_what_one_process_says_counts_for_the_other(self):
        one, other = self.limiters()
        with patch.object(limiter, "GROUP", (3, 0.001)):
            for _ in range(3):
                await self.call(one, GROUP)
            with pytest.raises(RetryAfter):
                await self.call(other, GROUP)
            await self.call(other, TOM)

        assert self.telegram.taken == [GROUP] * 3 + [TOM]
        await one.shutdown()
        await other.shutdown()

    async def test_no_second_has_more_than_thirty_calls_of_both_together(self):
        # Many connections at once, and on a busy machine each takes a while.
        self.enterContext(patch.object(rate_slots, "TIMEOUT_S", 30.0))
        limiters = self.limiters()
        calls = (
            self.call(limiters[number % 2], 1 + number, is_droppable=False) for number in range(65)
        )
        await asyncio.gather(*calls)

        at = self.telegram.taken_at
        assert all(later - earlier >= 1.0 for earlier, later in zip(at, at[30:], strict=False))
        for by in limiters:
            await by.shutdown()

    async def test_a_chat_that_told_one_process_to_wait_is_left_alone_by_the_other(self):
        one, other = self.limiters()
        self.telegram.told_to_wait[MAYA] = [60]
        with pytest.raises(RetryAfter):
            await self.call(one, MAYA)

        with pytest.raises(RetryAfter):
            await self.call(other, MAYA)
        await self.call(other, TOM)
        assert self.telegram.taken == [TOM]
        await one.shutdown()
        await other.shutdown()

    async def test_without_redis_a_process_has_a_third_of_the_rate(self):
        one, other = self.limiters()
        self.redis.freeze()
        await self.call(one, TOM, is_droppable=False)
        calls = (self.call(one, 1 + n, is_droppable=False) for n in range(11))
        await asyncio.gather(*calls)
        self.redis.thaw()

        at = self.telegram.taken_at
        assert at[-1] - at[0] >= 1.0
        await one.shutdown()
        await other.shutdown()

    async def test_without_redis_the_bot_goes_on_talking_and_says_so_once(self):
        one, _ = self.limiters()
        # From the first call on: a busy machine may be slow enough for it, and it is said once.
        with self.assertLogs("pipeline.bot.rate_slots", "WARNING") as logs:
            await self.call(one, TOM)
            self.redis.freeze()
            for _ in range(5):
                await self.call(one, TOM, is_droppable=False)
        self.redis.thaw()

        assert self.telegram.taken == [TOM] * 6
        assert len(logs.output) == 1
        await one.shutdown()

    async def test_another_database_or_bot_on_the_same_redis_has_rates_of_its_own(self):
        ours, same = self.limiters()
        others = [self.limiter(identity="another database"), self.limiter(bot_id=2)]
        self.telegram.told_to_wait[MAYA] = [60]
        with patch.object(limiter, "GROUP", (1, 0.001)):
            await self.call(ours, GROUP)
            with pytest.raises(RetryAfter):
                await self.call(ours, MAYA)

            for other in others:
                await self.call(other, GROUP)
                await self.call(other, MAYA)
            for chat in (GROUP, MAYA):
                with pytest.raises(RetryAfter):
                    await self.call(same, chat)

        assert self.telegram.taken == [GROUP, *[GROUP, MAYA] * 2]
        for each in (ours, same, *others):
            await each.shutdown()

    async def test_while_the_database_is_away_each_process_counts_for_itself(self):
        def refuse() -> str:
            raise OperationalError("the database is away")

        alone = ChatRateLimiter(shared=RateSlots(self.redis.url, 1, refuse))
        with self.assertLogs("pipeline.bot.rate_slots", "WARNING") as logs:
            for _ in range(3):
                await self.call(alone, TOM)

        with self.redis.client() as client:
            assert (len(logs.output), client.keys("*")) == (1, [])
        await alone.shutdown()

    async def test_what_others_write_to_the_keys_silences_no_chat(self):
        places = RateSlots(self.redis.url, 1, lambda: "a database")

        async def wait_s() -> float:
            return await places.take(str(TOM), limiter.PRIVATE, 30, "a call")

        await wait_s()
        with self.redis.client() as client:
            keys = client.keys("*")
            (rate,) = client.keys("*rate:chat:*")
            for forged in (b"nan", b"-inf", b"\x80garbage", b"", b"1e300", b"inf"):
                client.set(rate, forged)
                longest_s = 601 if forged in (b"1e300", b"inf") else 0

                assert await wait_s() <= longest_s, forged
            for key in keys:
                client.delete(key)
                client.rpush(key, "a list")

        assert len(keys) == 2
        assert await wait_s() == 0
        await places.close()


class IdentityTests(TestCase):
    async def test_the_keys_carry_the_identity_of_the_database_that_is_in_use(self):
        redis = self.enterContext(redis_server())
        places = RateSlots(redis.url, 4711)

        await places.take("1", limiter.PRIVATE, 30, "a call")
        await places.hold("1", 60)

        identity = await sync_to_async(read_identity)()
        with redis.client() as client:
            keys = sorted(str(key, "ascii") for key in client.keys("*") if isinstance(key, bytes))
        scope = f"observatory:places:{identity}:4711:"
        assert keys == [f"{scope}hold:1", f"{scope}rate:chat:1", f"{scope}window"]
        await places.close()
