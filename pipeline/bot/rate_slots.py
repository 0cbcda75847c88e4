"""Rate limits of `ChatRateLimiter`, shared through Redis by all processes of one bot and database.

Telegram limits a bot, not a machine. Each process also keeps its own count, so that the bot can
still send without Redis: each process then uses a third of the overall rate, as if there were three
processes. Other installations may use the same Redis, because the keys contain the identity of the
database and the bot's id.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio
from asgiref.sync import sync_to_async
from django.db import Error as DatabaseError
from redis.exceptions import RedisError

from agents.database_identity import read_identity
from agents.llm.secrets import scrub

logger = logging.getLogger(__name__)

# A frozen Redis delays a call by TIMEOUT_S, and is then not asked again for AWAY_S. The timeout is
# no shorter because a process on a busy machine may be slow to read an answer that has arrived.
TIMEOUT_S = 1.0
AWAY_S = 5.0
PREFIX = "observatory:places:"
LOST_AFTER_S = 30.0  # how long a call counts if its end is never reported: its process has died
LONGEST_S = 600  # cap on a stored bucket time: a bad value must not silence the bot for longer
POLL_INTERVAL_S = 0.1  # another process's call may end before its entry in the window expires

# Takes a slot by the rules of `Bucket.take` and `Window`, on Redis's clock. Returns 0 if the slot
# was taken, else the seconds to wait before asking again. KEYS: the chat's hold, its bucket, the
# window. ARGV: the bucket's burst and interval in seconds, the maximum number of calls in the
# window, this call's id, and how many seconds a call counts if its end is never reported.
_TAKE = f"""
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local kept = redis.pcall('GET', KEYS[2])
kept = type(kept) == 'string' and tonumber(kept) or 0
if kept ~= kept then kept = 0 end
kept = math.min(kept, now + {LONGEST_S})
local slot = math.max(kept, now - tonumber(ARGV[1])) + tonumber(ARGV[2])
local wait = math.max(0, redis.call('PTTL', KEYS[1]) / 1000, slot - now)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
local excess = redis.call('ZCARD', KEYS[3]) - tonumber(ARGV[3])
if excess >= 0 then
  local ends = tonumber(redis.call('ZRANGE', KEYS[3], excess, excess, 'WITHSCORES')[2])
  wait = math.max(wait, math.min(ends - now, {POLL_INTERVAL_S}), 0.001)
end
if wait > 0 then return string.format('%.6f', wait) end
redis.call('SET', KEYS[2], string.format('%.6f', slot), 'EX', math.ceil(ARGV[1] + 60))
redis.call('ZADD', KEYS[3], now + tonumber(ARGV[5]), ARGV[4])
redis.call('EXPIRE', KEYS[3], 60)
return '0'
"""
# Ends a call, which then counts for one more second. KEYS: the window. ARGV: the call's id.
_END = """
local time = redis.call('TIME')
return redis.call('ZADD', KEYS[1], 'XX', time[1] + time[2] / 1000000 + 1, ARGV[1])
"""

Rate = tuple[int, float]  # burst size, and calls per second


class RateSlots:
    """Rate slots in one Redis, shared by all processes of a bot."""

    def __init__(self, url: str, bot_id: int, identity: Callable[[], str] = read_identity) -> None:
        """`identity` reads the database's identity; called once, when the first slot is taken."""
        self._redis = redis.asyncio.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=None
        )
        self._take = self._redis.register_script(_TAKE)
        self._end = self._redis.register_script(_END)
        self._bot_id = bot_id
        self._read_identity = identity
        self._prefix = ""  # prefix of all keys; "" until the identity has been read
        self._away_until = -math.inf
        self._is_away = False

    @property
    def is_away(self) -> bool:
        """Whether the last request to Redis failed."""
        return self._is_away

    async def take(self, chat: str, rate: Rate, most: int, call: str) -> float:
        """Take a slot for a call, if the chat's rate allows and fewer than `most` calls count.

        Returns:
            0 if the slot was taken or Redis does not answer, else the seconds to wait before
            asking again.
        """
        burst, per_s = rate
        values: list[str | float] = [burst / per_s, 1 / per_s, most, call, LOST_AFTER_S]

        async def take(prefix: str) -> Any:
            keys = [f"{prefix}hold:{chat}", f"{prefix}rate:chat:{chat}", f"{prefix}window"]
            return await self._take(keys=keys, args=values)

        return float(await self._ask(take) or 0)

    async def end(self, call: str) -> None:
        """Report that a call has ended; it then counts for one more second."""

        async def end(prefix: str) -> Any:
            return await self._end(keys=[f"{prefix}window"], args=[call])

        await self._ask(end)

    async def hold(self, chat: str, for_s: float) -> None:
        """Stop all processes from sending to a chat for `for_s` seconds, as Telegram asked."""

        async def hold(prefix: str) -> Any:
            return await self._redis.set(f"{prefix}hold:{chat}", "1", px=math.ceil(for_s * 1000))

        await self._ask(hold)

    async def close(self) -> None:
        await self._redis.aclose()

    async def _ask(self, ask: Callable[[str], Awaitable[Any]]) -> Any:
        """Call `ask` with the key prefix and return its result; None while Redis is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            self._prefix = self._prefix or await self._prefix_of_this_installation()
            answer = await ask(self._prefix)
        except (RedisError, OSError, DatabaseError) as error:
            if not self._is_away:
                logger.warning("rates are each process's own meanwhile: %s", scrub(str(error)))
            self._is_away, self._away_until = True, time.monotonic() + AWAY_S
            return None
        self._is_away = False
        return answer

    async def _prefix_of_this_installation(self) -> str:
        return f"{PREFIX}{await sync_to_async(self._read_identity)()}:{self._bot_id}:"
