"""The rates of `ChatRateLimiter`, counted together by every process that has the same Redis.

Telegram counts by bot, not by machine. Each process keeps its own count too, so that without Redis
the bot goes on talking: then each of n processes has the rate for itself.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from agents.llm.keys import scrub

logger = logging.getLogger(__name__)

TIMEOUT_S = 0.3  # a Redis that is frozen delays one message by this, and then none for a while
AWAY_S = 5.0
PREFIX = "observatory:places:"

# Places as `Bucket.place` hands them out, by the clock of Redis; and how long a chat is held.
# KEYS: the holds of the chat, then a bucket each. ARGV: burst in seconds and interval of each.
_PLACE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local wait = math.max(0, redis.call('PTTL', KEYS[1]) / 1000)
for number = 2, #KEYS do
  local burst, interval = tonumber(ARGV[2 * number - 3]), tonumber(ARGV[2 * number - 2])
  local kept = tonumber(redis.call('GET', KEYS[number]) or 0)
  local place = math.max(kept, now - burst) + interval
  redis.call('SET', KEYS[number], string.format('%.6f', place), 'EX', math.ceil(burst + 60))
  wait = math.max(wait, place - now)
end
return string.format('%.6f', wait)
"""

Rate = tuple[str, int, float]  # whose it is, the burst, how many a second


class SharedPlaces:
    """Places in one Redis."""

    def __init__(self, url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=None
        )
        self._place = self._redis.register_script(_PLACE)
        self._away_until = -math.inf
        self._is_away = False

    async def wait_s(self, chat: str, rates: Sequence[Rate]) -> float:
        """Take a place of each rate and return how long to wait for the last; 0 without Redis."""
        keys = [self._hold(chat), *(f"{PREFIX}rate:{name}" for name, _, _ in rates)]
        numbers = [n for _, burst, per_s in rates for n in (burst / per_s, 1 / per_s)]
        answer = await self._ask(self._place(keys=keys, args=numbers))
        return float(answer or 0)

    async def hold(self, chat: str, for_s: float) -> None:
        """Have nobody write to a chat for so long: Telegram said so."""
        await self._ask(self._redis.set(self._hold(chat), "1", px=math.ceil(for_s * 1000)))

    async def close(self) -> None:
        await self._redis.aclose()

    def _hold(self, chat: str) -> str:
        return f"{PREFIX}hold:{chat}"

    async def _ask(self, asking: Any) -> Any:
        if time.monotonic() < self._away_until:
            asking.close()
            return None
        try:
            answer = await asking
        except (RedisError, OSError) as error:
            if not self._is_away:
                logger.warning("rates are each process's own meanwhile: %s", scrub(str(error)))
            self._is_away, self._away_until = True, time.monotonic() + AWAY_S
            return None
        self._is_away = False
        return answer
