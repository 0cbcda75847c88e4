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
from pipeline.bot import limiter
from pipeline.bot.limiter import Bucket, ChatRateLimiter
from pipeline.bot.shared_places import SharedPlaces
from tests.servers import redis_server

MAYA, TOM, GROUP = 1001, 1002, -1001


class Telegram:
    """Takes calls, and tells a chat to wait when a test says so."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.told_to_wait: dict[Any, list[float]] = {}

    async def take(self, chat_id: Any) -> bool:
        if self.told_to_wait.get(chat_id):
            raise RetryAfter(self.told_to_wait[chat_id].pop())  # type: ignore[arg-type]
        self.taken.append(chat_id)
        return True


class LimiterTests(SimpleTestCase):
    def setUp(self) -> None:
        self.telegram = Telegram()
        self.limiter = ChatRateLimiter()

    async def call(self, chat_id: Any, endpoint: str = "sendMessage", args: str = "") -> Any:
        return await self.limiter.process_request(
            self.telegram.take, [chat_id], {}, endpoint, {"chat_id": chat_id}, args or None
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
            await self.call(MAYA, args="droppable")

        with pytest.raises(RetryAfter):
            await self.call(MAYA, args="droppable")
        await self.call(TOM, args="droppable")
        assert self.telegram.taken == [TOM]

    async def test_answers_to_presses_are_not_limited(self):
        with patch.object(limiter, "PRIVATE", (1, 0.001)):
            for _ in range(5):
                await self.call(MAYA, "answerCallbackQuery")

        assert len(self.telegram.taken) == 5

    async def test_all_chats_together_are_limited_too(self):
        with patch.object(limiter, "OVERALL", (2, 50.0)):
            self.limiter = ChatRateLimiter()
        began = time.monotonic()

        await asyncio.gather(*(self.call(chat_id) for chat_id in range(1, 8)))

        assert time.monotonic() - began >= 5 / 50


class BucketTests(SimpleTestCase):
    def test_a_burst_goes_at_once_and_the_rest_at_the_steady_rate(self):
        bucket = Bucket(burst=3, per_s=2.0, now=100.0)

        assert [bucket.place(100.0) for _ in range(5)] == [100.0, 100.0, 100.0, 100.5, 101.0]

    def test_a_pause_gives_the_burst_back_and_no_more(self):
        bucket = Bucket(burst=2, per_s=1.0, now=0.0)
        for _ in range(2):
            bucket.place(0.0)

        assert [bucket.place(1000.0) for _ in range(3)] == [1000.0, 1000.0, 1001.0]

    def test_what_it_would_have_to_wait_is_told_without_taking_the_place(self):
        bucket = Bucket(burst=1, per_s=1.0, now=0.0)
        bucket.place(0.0)

        assert (bucket.wait_s(0.0), bucket.wait_s(0.0), bucket.place(0.0)) == (1.0, 1.0, 1.0)

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

    async def call(self, by: ChatRateLimiter, chat_id: int, args: str = "droppable") -> Any:
        return await by.process_request(
            self.telegram.take, [chat_id], {}, "editMessageText", {"chat_id": chat_id}, args
        )

    def limiters(self) -> list[ChatRateLimiter]:
        return [self.limiter(), self.limiter()]

    def limiter(self, identity: str = "a database", bot_id: int = 1) -> ChatRateLimiter:
        return ChatRateLimiter(shared=SharedPlaces(self.redis.url, bot_id, lambda: identity))

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

    async def test_without_redis_the_bot_goes_on_talking_and_says_so_once(self):
        one, _ = self.limiters()
        # From the first call on: a busy machine may be slow enough for it, and it is said once.
        with self.assertLogs("pipeline.bot.shared_places", "WARNING") as logs:
            await self.call(one, TOM)
            self.redis.freeze()
            for _ in range(5):
                await self.call(one, TOM, "")
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

        alone = ChatRateLimiter(shared=SharedPlaces(self.redis.url, 1, refuse))
        with self.assertLogs("pipeline.bot.shared_places", "WARNING") as logs:
            for _ in range(3):
                await self.call(alone, TOM)

        with self.redis.client() as client:
            assert (len(logs.output), client.keys("*")) == (1, [])
        await alone.shutdown()

    async def test_what_others_write_to_the_keys_silences_no_chat(self):
        places = SharedPlaces(self.redis.url, 1, lambda: "a database")
        rates = [(f"chat:{TOM}", *limiter.PRIVATE), ("overall", *limiter.OVERALL)]
        await places.wait_s(str(TOM), rates)
        with self.redis.client() as client:
            keys = client.keys("*")
            for forged in (b"nan", b"-inf", b"\x80garbage", b"", b"1e300", b"inf"):
                for key in keys:
                    client.set(key, forged)
                longest_s = 601 if forged in (b"1e300", b"inf") else 0

                assert await places.wait_s(str(TOM), rates) <= longest_s, forged
            for key in keys:
                client.delete(key)
                client.rpush(key, "a list")

        assert len(keys) == 2
        assert await places.wait_s(str(TOM), rates) == 0
        await places.close()


class IdentityTests(TestCase):
    async def test_the_keys_carry_the_identity_of_the_database_that_is_in_use(self):
        redis = self.enterContext(redis_server())
        places = SharedPlaces(redis.url, 4711)

        await places.wait_s("1", [("chat:1", *limiter.PRIVATE)])
        await places.hold("1", 60)

        identity = await sync_to_async(read_identity)()
        with redis.client() as client:
            keys = sorted(str(key, "ascii") for key in client.keys("*") if isinstance(key, bytes))
        scope = f"observatory:places:{identity}:4711:"
        assert keys == [f"{scope}hold:1", f"{scope}rate:chat:1"]
        await places.close()
