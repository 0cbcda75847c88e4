"""How fast the bot may talk: per chat, per group and overall, and what goes first.

Answers go before progress, and progress before notices. Telegram tells one chat to wait, and only
that chat waits: the library's own limiter halts every chat at one such answer. Edits share the
limit of messages; answers to button presses have none.
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

PRIVATE = (15, 1.0)  # a burst of so many, then so many a second; Telegram tolerates short bursts
GROUP = (15, 20 / 60)
UNLIMITED = frozenset({"answerCallbackQuery", "sendChatAction", "deleteMessage"})
KEPT_CHATS = 10_000
DROPPED_AFTER_S = 0.3
HELD_ELSEWHERE_S = 0.5  # a wait of so long is a chat's own: it must not keep a slot of all chats
SOON_S = 0.001
MAX_PLACEHOLDERS = 6  # on their way at once: a process that is killed loses no more of them
ALONE_SHARE = 3  # the part of the rate that a process has when it cannot ask what others do

Clock = Callable[[], float]
# Told the newest message id that is known, 0 if none is: what leaves now gets a higher one.
Leaving = Callable[[int], Awaitable[None]]


class Rank(IntEnum):
    """What goes first."""

    ANSWER = 0
    PROGRESS = 1
    NOTICE = 2


# Calls in any second of all chats. So many may have been made for one of that rank to be made: what
# is left is for the ranks above, also for those of other processes.
IN_ANY_SECOND = {Rank.ANSWER: 30, Rank.PROGRESS: 20, Rank.NOTICE: 10}


@dataclass(slots=True, kw_only=True, eq=False)
class Ticket:
    """How urgent a call is, and what is to be done in the moment before it leaves."""

    rank: Rank = Rank.ANSWER
    within_s: float = math.inf  # one that would have to wait longer raises RetryAfter instead
    leaving: Leaving | None = None
    is_placeholder: bool = False  # lost at a kill, it would be looked for in the chat
    has_left: bool = False  # and Telegram has not said that it did nothing
    is_held_up: asyncio.Event = field(
        default_factory=asyncio.Event
    )  # others go first, or have gone


class Bucket:
    """A chat's rate slots: a burst at once, then one after the other at a steady rate."""

    def __init__(self, burst: int, per_s: float, now: float) -> None:
        self._per_s = per_s
        self._burst_s = burst / per_s
        self._next_at = now - self._burst_s
        self.held_until = now

    def wait_s(self, now: float) -> float:
        """Return how long the wait for the next slot would be, without taking it."""
        return max(self._next_at + 1 / self._per_s, self.held_until) - now

    def take(self, now: float) -> float:
        """Take the next slot and return when it is due."""
        self._next_at = max(self._next_at, now - self._burst_s) + 1 / self._per_s
        return max(self._next_at, now, self.held_until)


class Window:
    """The calls of the last second: those under way, and those that ended less than a second ago.

    Telegram counts a call at some moment between its leaving and its end. So each call is counted
    from when it leaves until a second after it ends: no second by Telegram's clock can then contain
    more calls than this window counts.
    """

    def __init__(self) -> None:
        self._under_way = 0
        self._ended: deque[float] = deque()

    def count(self, now: float) -> int:
        """Return how many calls may count at this moment."""
        while self._ended and self._ended[0] <= now - 1.0:
            self._ended.popleft()
        return self._under_way + len(self._ended)

    def enter(self) -> None:
        self._under_way += 1

    def leave(self, now: float) -> None:
        self._under_way -= 1
        self._ended.append(now)

    def wait_s(self, now: float, most: int) -> float:
        """Return the seconds until fewer than `most` count; infinite if only a call's end helps."""
        too_many = self.count(now) - most
        if too_many < 0:
            return 0.0
        return self._ended[too_many] + 1.0 - now if too_many < len(self._ended) else math.inf


@dataclass(frozen=True, slots=True, order=True)
class _Waiter:
    """A call that waits for its turn; of the same rank the one that came first goes first."""

    rank: Rank
    number: int
    chat_id: Any = field(compare=False)
    is_placeholder: bool = field(compare=False)
    context: asyncio.Future[None] = field(compare=False)


class ChatRateLimiter(BaseRateLimiter[Ticket]):
    """Spreads calls out; those of a chat that is told to wait are made again after the wait."""

    def __init__(self, clock: Clock = time.monotonic, shared: RateSlots | None = None) -> None:
        """With `shared` the rates hold for every process that shares it."""
        self._clock = clock
        self._shared = shared
        self._window = Window()
        self._chats: OrderedDict[Any, Bucket] = OrderedDict()
        self._waiters: list[_Waiter] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._newest_id = 0
        self._placeholders = 0  # that are on their way

    async def initialize(self) -> None:
        """Nothing to prepare."""

    async def shutdown(self) -> None:
        """Let go of what is shared."""
        if self._timer is not None:
            self._timer.cancel()
        if self._shared is not None:
            await self._shared.close()

    def note(self, message_id: int) -> None:
        """Note the id of a message in a private chat: all of a bot's are counted together."""
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
        """Make the call when it is its turn.

        Raises:
            RetryAfter: it would have had to wait for longer than its ticket allows.
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
        """Return when it is this call's turn; it then counts in the window until it leaves that."""
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
        """Give their turn to those whose turn it is, and come again when it is the next one's."""
        now, next_s = self._clock(), math.inf
        for waiter in list(self._waiters):
            window_s = self._window.wait_s(now, self._most(waiter.rank))
            if window_s > 0:
                next_s = min(next_s, window_s)
                break  # nor is there room for a lower rank
            if waiter.is_placeholder and self._placeholders >= MAX_PLACEHOLDERS:
                continue  # until one has ended
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
        """Return how many calls may count for one more; few while other processes' are unknown."""
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
        """Leave a chat alone for so long: Telegram said so."""
        bucket = self._bucket(chat_id)
        bucket.held_until = max(bucket.held_until, self._clock() + for_s)
        if self._shared is not None:
            await self._shared.hold(str(chat_id), for_s)

    # --- among all processes --------------------------------------------------------------------

    async def _is_turn_of_all(self, chat_id: Any, ticket: Ticket, until: float, call: str) -> bool:
        """Wait for a slot shared by all processes; False if this chat must wait longer."""
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
