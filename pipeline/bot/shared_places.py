"""The rates of `ChatRateLimiter`, counted together by every process of one bot and database.

Telegram counts by bot, not by machine. Each process keeps its own count too, so that without Redis
the bot goes on talking: then each of n processes has the rate for itself. Other installations may
use the same Redis: the keys carry the identity of the database and the bot's id.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import redis.asyncio
from asgiref.sync import sync_to_async
from django.db import Error as DatabaseError
from redis.exceptions import RedisError

from agents.database_identity import read_identity
from agents.llm.secrets import scrub

logger = logging.getLogger(__name__)

TIMEOUT_S = 0.3  # a Redis that is frozen delays one message by this, and then none for a while
AWAY_S = 5.0
PREFIX = "observatory:places:"

# Places as `Bucket.place` hands them out, by the clock of Redis; and how long a chat is held.
# KEYS: the holds of the chat, then a bucket each. ARGV: burst in seconds and interval of each.
# What others wrote there silences the bot for no longer than a long queue of its own would.
_PLACE = """
local longest = 600
local function place_at(key)
  local kept = redis.pcall('GET', key)
  local place = type(kept) == 'string' and tonumber(kept) or 0
  return place == place and place or 0
end
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local wait = math.max(0, redis.call('PTTL', KEYS[1]) / 1000)
for number = 2, #KEYS do
  local burst, interval = tonumber(ARGV[2 * number - 3]), tonumber(ARGV[2 * number - 2])
  local kept = math.min(place_at(KEYS[number]), now + longest)
  local place = math.max(kept, now - burst) + interval
  redis.call('SET', KEYS[number], string.format('%.6f', place), 'EX', math.ceil(burst + 60))
  wait = math.max(wait, place - now)
end
return string.format('%.6f', wait)
"""

Rate = tuple[str, int, float]  # whose it is, the burst, how many a second


class SharedPlaces:
    """Places in one Redis."""

    def __init__(self, url: str, bot_id: int, identity: Callable[[], str] = read_identity) -> None:
        """`identity` asks for the database's; it is called once, when the first place is taken."""
        self._redis = redis.asyncio.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=None
        )
        self._place = self._redis.register_script(_PLACE)
        self._bot_id = bot_id
        self._read_identity = identity
        self._prefix = ""  # of all keys, once it is known
        self._away_until = -math.inf
        self._is_away = False

    async def wait_s(self, chat: str, rates: Sequence[Rate]) -> float:
        """Take a place of each rate and return how long to wait for the last; 0 without Redis."""
        numbers = [n for _, burst, per_s in rates for n in (burst / per_s, 1 / per_s)]

        async def place(prefix: str) -> Any:
            keys = [f"{prefix}hold:{chat}", *(f"{prefix}rate:{name}" for name, _, _ in rates)]
            return await self._place(keys=keys, args=numbers)

        return float(await self._ask(place) or 0)

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
