"""Rate limiter for calls to Telegram: per private chat, per group and overall, with priorities.

Answers go before progress, and progress before notices. If Telegram asks to wait in one chat, only
that chat waits; the library's own limiter would halt every chat. Edits count against the same
limit as messages; answers to button presses are not limited.
https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
import math
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any
from uuid import uuid4

from telegram.error import RetryAfter
from telegram.ext import BaseRateLimiter

from pipeline.bot.patience import seconds
from pipeline.bot.rate_slots import RateSlots

PRIVATE = (15, 1.0)  # burst size, then calls per second; Telegram tolerates short bursts
GROUP = (15, 20 / 60)
UNLIMITED = frozenset({"answerCallbackQuery", "sendChatAction", "deleteMessage"})
KEPT_CHATS = 10_000
DROPPED_AFTER_S = 0.3
HELD_ELSEWHERE_S = 0.5  # a longer wait is due to the chat itself: give the overall slot back
SOON_S = 0.001
MAX_PLACEHOLDERS = 6  # in flight at once, so that a killed process loses no more of them
ALONE_SHARE = 3  # divides the overall rate while Redis is away and other processes' use is unknown

Clock = Callable[[], float]
# Called just before a call is sent, with the newest known message id (0 if unknown): the message
# that is sent gets a higher id.
Leaving = Callable[[int], Awaitable[None]]


class Rank(IntEnum):
    """Priority of a call; the lowest value goes first."""

    ANSWER = 0
    PROGRESS = 1
    NOTICE = 2


# Calls to all chats in any second. A call of a rank is made only while fewer calls than this count;
# the rest of the rate is reserved for higher ranks, including those of other processes.
IN_ANY_SECOND = {Rank.ANSWER: 30, Rank.PROGRESS: 20, Rank.NOTICE: 10}


@dataclass(slots=True, kw_only=True, eq=False)
class Ticket:
    """Priority and deadline of a call, a hook to run just before it is sent, and its progress."""

    rank: Rank = Rank.ANSWER
    within_s: float = math.inf  # a call that would have to wait longer raises RetryAfter instead
    leaving: Leaving | None = None
    is_placeholder: bool = False  # if a kill loses it, the next attempt searches the chat for it
    has_left: bool = False  # the call was sent, and Telegram has not refused it with RetryAfter
    is_held_up: asyncio.Event = field(
        default_factory=asyncio.Event
    )  # set once the call has to wait for its turn


class Bucket:
    """Token bucket of a chat: a burst at once, then one call after the other at a steady rate."""

    def __init__(self, burst: int, per_s: float, now: float) -> None:
        self._per_s = per_s
        self._burst_s = burst / per_s
        self._next_at = now - self._burst_s
        self.held_until = now

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next slot, without taking it; 0 or less if it is free."""
        return max(self._next_at + 1 / self._per_s, self.held_until) - now

    def take(self, now: float) -> float:
        """Take the next slot and return the time at which it is due."""
        self._next_at = max(self._next_at, now - self._burst_s) + 1 / self._per_s
        return max(self._next_at, now, self.held_until)


class Window:
    """Sliding window of calls: those in flight, and those that ended less than a second ago.

    Telegram counts a call at some moment between its start and its end. So each call counts from
    its start until a second after its end: no second by Telegram's clock can then contain more
    calls than this window counts.
    """

    def __init__(self) -> None:
        self._under_way = 0
        self._ended: deque[float] = deque()

    def count(self, now: float) -> int:
        """Return how many calls Telegram may be counting at this moment."""
        while self._ended and self._ended[0] <= now - 1.0:
            self._ended.popleft()
        return self._under_way + len(self._ended)

    def enter(self) -> None:
        self._under_way += 1

    def leave(self, now: float) -> None:
        self._under_way -= 1
        self._ended.append(now)

    def wait_s(self, now: float, most: int) -> float:
        """Return the seconds until fewer than `most` calls count.

        Infinite if that depends on when a call in flight ends.
        """
        too_many = self.count(now) - most
        if too_many < 0:
            return 0.0
        return self._ended[too_many] + 1.0 - now if too_many < len(self._ended) else math.inf


@dataclass(frozen=True, slots=True, order=True)
class _Waiter:
    """A call that waits for its turn; within a rank, first come, first served."""

    rank: Rank
    number: int
    chat_id: Any = field(compare=False)
    is_placeholder: bool = field(compare=False)
    context: asyncio.Future[None] = field(compare=False)


class ChatRateLimiter(BaseRateLimiter[Ticket]):
    """Delays calls to stay within Telegram's limits, and repeats calls that got RetryAfter."""

    def __init__(self, clock: Clock = time.monotonic, shared: RateSlots | None = None) -> None:
        """With `shared`, the limits hold across all processes that use the same Redis."""
        self._clock = clock
        self._shared = shared
        self._window = Window()
        self._chats: OrderedDict[Any, Bucket] = OrderedDict()
        self._waiters: list[_Waiter] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._newest_id = 0
        self._placeholders = 0  # placeholders in flight

    async def initialize(self) -> None:
        """Do nothing: the limiter needs no preparation."""

    async def shutdown(self) -> None:
        """Cancel the timer and close the connections to Redis."""
        if self._timer is not None:
            self._timer.cancel()
        if self._shared is not None:
            await self._shared.close()

    def note(self, message_id: int) -> None:
        """Note a message id from a private chat; all private chats of a bot share one sequence."""
        self._newest_id = max(self._newest_id, message_id)

    async def process_request(
        self,
        callback: Callable[..., Coroutine[Any, Any, Any]],
        args: Any,
        kwargs: dict[str, Any],
        endpoint: str,
        data: dict[str, Any],
        rate_limit_args: Ticket | None,
    ) -> Any:
        """Make the call when its turn comes.

        Raises:
            RetryAfter: the call would have to wait for longer than its ticket allows.
        """
        chat_id = data.get("chat_id")
        if chat_id is None or endpoint in UNLIMITED:
            return await callback(*args, **kwargs)
        ticket = rate_limit_args or Ticket()
        until = self._clock() + ticket.within_s
        while True:
            await self._context_of(chat_id, ticket, until)
            call = uuid4().hex
            try:
                if not await self._is_turn_of_all(chat_id, ticket, until, call):
                    continue
                await self._leave(ticket, chat_id)
                result = await callback(*args, **kwargs)
            except RetryAfter as error:
                if not ticket.has_left:
                    raise
                ticket.has_left = False
                ticket.is_held_up.set()
                await self._hold(chat_id, seconds(error))
                if self._clock() + seconds(error) > until:
                    raise
            else:
                self._note_answer(chat_id, result)
                return result
            finally:
                await self._end(call, ticket)

    # --- in this process ------------------------------------------------------------------------

    async def _context_of(self, chat_id: Any, ticket: Ticket, until: float) -> None:
        """Wait for this call's turn; it then counts in the window until `_leave_the_window`.

        Raises:
            RetryAfter: the wait would go beyond `until`.
        """
        wait_s = self._bucket(chat_id).wait_s(self._clock())
        if self._clock() + wait_s > until:
            raise RetryAfter(math.ceil(wait_s))
        context = asyncio.get_running_loop().create_future()
        number = next(self._numbers)
        waiter = _Waiter(ticket.rank, number, chat_id, ticket.is_placeholder, context)
        bisect.insort(self._waiters, waiter)
        self._hand_out()
        if not context.done():
            ticket.is_held_up.set()
        left_s = until - self._clock()
        try:
            async with asyncio.timeout(left_s if math.isfinite(left_s) else None):
                await context
        except BaseException as error:
            if context.done() and not context.cancelled():
                self._leave_the_window(ticket)
            else:
                self._waiters.remove(waiter)
            if isinstance(error, TimeoutError):
                raise RetryAfter(1) from None
            raise

    def _hand_out(self) -> None:
        """Release the waiters whose turn has come, and set a timer for the next one's turn."""
        now, next_s = self._clock(), math.inf
        for waiter in list(self._waiters):
            window_s = self._window.wait_s(now, self._most(waiter.rank))
            if window_s > 0:
                next_s = min(next_s, window_s)
                break  # lower ranks have no room either
            if waiter.is_placeholder and self._placeholders >= MAX_PLACEHOLDERS:
                continue  # wait until another placeholder call has ended
            bucket = self._bucket(waiter.chat_id)
            chat_s = bucket.wait_s(now)
            if chat_s > SOON_S:
                next_s = min(next_s, chat_s)
            elif not waiter.context.done():
                bucket.take(now)
                self._window.enter()
                self._placeholders += waiter.is_placeholder
                self._waiters.remove(waiter)
                waiter.context.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if math.isfinite(next_s):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(next_s, SOON_S), self._hand_out)

    def _most(self, rank: Rank) -> int:
        """Return the limit below which a call of this rank may go; lower while Redis is away."""
        is_away = self._shared is not None and self._shared.is_away
        return IN_ANY_SECOND[rank] // (ALONE_SHARE if is_away else 1)

    def _bucket(self, chat_id: Any) -> Bucket:
        bucket = self._chats.pop(chat_id, None)
        if bucket is None:
            bucket = Bucket(*_rate_of(str(chat_id)), self._clock())
        self._chats[chat_id] = bucket
        if len(self._chats) > KEPT_CHATS:
            self._chats.popitem(last=False)
        return bucket

    async def _leave(self, ticket: Ticket, chat_id: Any) -> None:
        ticket.has_left = True
        if ticket.leaving is not None:
            await ticket.leaving(self._newest_id if _is_private(chat_id) else 0)

    def _note_answer(self, chat_id: Any, result: Any) -> None:
        if _is_private(chat_id) and isinstance(result, dict):
            self.note(int(result.get("message_id", 0)))

    def _leave_the_window(self, ticket: Ticket) -> None:
        self._window.leave(self._clock())
        self._placeholders -= ticket.is_placeholder
        self._hand_out()

    async def _end(self, call: str, ticket: Ticket) -> None:
        self._leave_the_window(ticket)
        if self._shared is not None:
            await self._shared.end(call)

    async def _hold(self, chat_id: Any, for_s: float) -> None:
        """Send nothing to a chat for `for_s` seconds, as Telegram asked."""
        bucket = self._bucket(chat_id)
        bucket.held_until = max(bucket.held_until, self._clock() + for_s)
        if self._shared is not None:
            await self._shared.hold(str(chat_id), for_s)

    # --- among all processes --------------------------------------------------------------------

    async def _is_turn_of_all(self, chat_id: Any, ticket: Ticket, until: float, call: str) -> bool:
        """Wait for a slot shared by all processes; False if the chat itself has to wait longer.

        Raises:
            RetryAfter: the wait would go beyond `until`.
        """
        chat, most = str(chat_id), IN_ANY_SECOND[ticket.rank]
        while self._shared is not None:
            wait_s = await self._shared.take(chat, _rate_of(chat), most, call)
            if wait_s <= 0:
                break
            ticket.is_held_up.set()
            if self._clock() + wait_s > until:
                raise RetryAfter(math.ceil(wait_s))
            if wait_s > HELD_ELSEWHERE_S:
                bucket = self._bucket(chat_id)
                bucket.held_until = max(bucket.held_until, self._clock() + wait_s)
                return False
            await asyncio.sleep(wait_s)
        return True


def _rate_of(chat: str) -> tuple[int, float]:
    return GROUP if chat.startswith(("-", "@")) else PRIVATE


def _is_private(chat_id: Any) -> bool:
    return isinstance(chat_id, int) and chat_id > 0
