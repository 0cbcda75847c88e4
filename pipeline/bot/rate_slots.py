"""The rates of `ChatRateLimiter`, counted together by every process of one bot and database.

Telegram counts by bot, not by machine. Each process keeps its own count too, so that without Redis
the bot goes on talking: then each process has a third of the rate, as if there were three of them.
Other installations may use the same Redis: the keys carry the identity of the database and the
bot's id.
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

# A Redis that is frozen delays messages by this, and then none for a while; a process whose machine
# is busy may take long to read an answer that is there.
TIMEOUT_S = 1.0
AWAY_S = 5.0
PREFIX = "observatory:places:"
LOST_AFTER_S = 30.0  # a call whose end is not told counts for so long: its process has died
LONGEST_S = 600  # what others wrote there silences the bot for no longer than a long queue would
POLL_INTERVAL_S = 0.1  # a call of another process may end sooner than it counts

# A slot as `Bucket.take` and `Window` hand it out, by the clock of Redis: 0 if it was taken, else
# how long to wait before asking again. KEYS: the hold of the chat, its bucket, the window. ARGV:
# burst in seconds and interval of the bucket, the most calls in the window, this call, and for how
# long a call counts whose end is not told.
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
# The end of a call: it counts for a second more. KEYS: the window. ARGV: the call.
_END = """
local time = redis.call('TIME')
return redis.call('ZADD', KEYS[1], 'XX', time[1] + time[2] / 1000000 + 1, ARGV[1])
"""

Rate = tuple[int, float]  # the burst, and how many a second


class RateSlots:
    """Places in one Redis."""

    def __init__(self, url: str, bot_id: int, identity: Callable[[], str] = read_identity) -> None:
        """`identity` asks for the database's; it is called once, when the first slot is taken."""
        self._redis = redis.asyncio.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=None
        )
        self._take = self._redis.register_script(_TAKE)
        self._end = self._redis.register_script(_END)
        self._bot_id = bot_id
        self._read_identity = identity
        self._prefix = ""  # of all keys, once it is known
        self._away_until = -math.inf
        self._is_away = False

    @property
    def is_away(self) -> bool:
        """Whether Redis did not answer when it was last asked."""
        return self._is_away

    async def take(self, chat: str, rate: Rate, most: int, call: str) -> float:
        """Take a slot for a call if fewer than `most` count; else return how long to wait.

        Without Redis it is as if it were taken.
        """
        burst, per_s = rate
        values: list[str | float] = [burst / per_s, 1 / per_s, most, call, LOST_AFTER_S]

        async def take(prefix: str) -> Any:
            keys = [f"{prefix}hold:{chat}", f"{prefix}rate:chat:{chat}", f"{prefix}window"]
            return await self._take(keys=keys, args=values)

        return float(await self._ask(take) or 0)

    async def end(self, call: str) -> None:
        """Have a call that has ended count for a second more."""

        async def end(prefix: str) -> Any:
            return await self._end(keys=[f"{prefix}window"], args=[call])

        await self._ask(end)

    async def hold(self, chat: str, for_s: float) -> None:
        """Have no process write to a chat for so long: Telegram said so."""

        async def hold(prefix: str) -> Any:
            return await self._redis.set(f"{prefix}hold:{chat}", "1", px=math.ceil(for_s * 1000))

        await self._ask(hold)

    async def close(self) -> None:
        await self._redis.aclose()

    async def _ask(self, ask: Callable[[str], Awaitable[Any]]) -> Any:
        """Ask Redis for something about keys with a prefix; None while it does not answer."""
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
