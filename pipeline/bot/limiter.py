"""How fast the bot may talk: per chat, per group and overall, and what happens when it was too fast.

Telegram tells one chat to wait, and only that chat waits: the library's own limiter halts every
chat at one such answer. Edits share the limit of messages; answers to button presses have none.
https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

from telegram.error import RetryAfter
from telegram.ext import BaseRateLimiter

from pipeline.bot.patience import seconds
from pipeline.bot.shared_places import SharedPlaces

PRIVATE = (15, 1.0)  # a burst of so many, then so many a second; Telegram tolerates short bursts
GROUP = (15, 20 / 60)
OVERALL = (30, 30.0)
UNLIMITED = frozenset({"answerCallbackQuery", "sendChatAction", "deleteMessage"})
KEPT_CHATS = 10_000
DROPPED_AFTER_S = 0.3

Clock = Callable[[], float]


class Bucket:
    """Hands out places: a burst at once, then one after the other at a steady rate."""

    def __init__(self, burst: int, per_s: float, now: float) -> None:
        self._per_s = per_s
        self._burst_s = burst / per_s
        self._next_at = now - self._burst_s
        self.held_until = now

    def wait_s(self, now: float) -> float:
        """Return how long a place would have to be waited for, without taking it."""
        return max(self._next_at + 1 / self._per_s, self.held_until) - now

    def place(self, now: float) -> float:
        """Take the next place and return when it comes up."""
        self._next_at = max(self._next_at, now - self._burst_s) + 1 / self._per_s
        return max(self._next_at, now, self.held_until)


class ChatRateLimiter(BaseRateLimiter[str]):
    """Spreads calls out; those of a chat that is told to wait are made again after the wait.

    With `rate_limit_args="droppable"` a call that would have to wait raises RetryAfter instead:
    nobody needs yesterday's progress.
    """

    def __init__(self, clock: Clock = time.monotonic, shared: SharedPlaces | None = None) -> None:
        """With `shared` the rates hold for every process that shares it."""
        self._clock = clock
        self._shared = shared
        self._overall = Bucket(*OVERALL, clock())
        self._chats: OrderedDict[Any, Bucket] = OrderedDict()

    async def initialize(self) -> None:
        """Nothing to prepare."""

    async def shutdown(self) -> None:
        """Let go of what is shared."""
        if self._shared is not None:
            await self._shared.close()

    async def process_request(
        self,
        callback: Callable[..., Coroutine[Any, Any, Any]],
        args: Any,
        kwargs: dict[str, Any],
        endpoint: str,
        data: dict[str, Any],
        rate_limit_args: str | None,
    ) -> Any:
        """Make the call when it is its turn."""
        chat_id = data.get("chat_id")
        if chat_id is None or endpoint in UNLIMITED:
            return await callback(*args, **kwargs)
        bucket = self._bucket(chat_id)
        while True:
            if rate_limit_args:
                wait_s = max(place.wait_s(self._clock()) for place in (bucket, self._overall))
                if wait_s > DROPPED_AFTER_S:
                    raise RetryAfter(math.ceil(wait_s))
            for place in (bucket, self._overall):
                await asyncio.sleep(max(0.0, place.place(self._clock()) - self._clock()))
            await self._wait_for_others(str(chat_id), is_droppable=bool(rate_limit_args))
            try:
                return await callback(*args, **kwargs)
            except RetryAfter as error:
                bucket.held_until = max(bucket.held_until, self._clock() + seconds(error))
                if self._shared is not None:
                    await self._shared.hold(str(chat_id), seconds(error))
                if rate_limit_args:
                    raise

    async def _wait_for_others(self, chat: str, *, is_droppable: bool) -> None:
        """Wait for a place among the calls of all processes."""
        if self._shared is None:
            return
        rates = ((f"chat:{chat}", *_rate_of(chat)), ("overall", *OVERALL))
        wait_s = await self._shared.wait_s(chat, rates)
        if is_droppable and wait_s > DROPPED_AFTER_S:
            raise RetryAfter(math.ceil(wait_s))
        await asyncio.sleep(wait_s)

    def _bucket(self, chat_id: Any) -> Bucket:
        bucket = self._chats.pop(chat_id, None)
        if bucket is None:
            bucket = Bucket(*_rate_of(str(chat_id)), self._clock())
        self._chats[chat_id] = bucket
        if len(self._chats) > KEPT_CHATS:
            self._chats.popitem(last=False)
        return bucket


def _rate_of(chat: str) -> tuple[int, float]:
    return GROUP if chat.startswith(("-", "@")) else PRIVATE
