"""Calls that wait for room in a budget's period, first come, first served.

A call waits if only what is set aside for others is in its way. In this process a settlement wakes
the calls that wait; settlements by other processes are looked for ten times a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID
from weakref import WeakKeyDictionary

LOOK_S = 0.1  # for settlements by other processes


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The period without room, and its sums at that time, in picodollars."""

    period_id: int
    need_picousd: int
    cap_picousd: int
    spent_picousd: int  # with what ended calls may have cost
    reserved_picousd: int

    @property
    def is_for_good(self) -> bool:
        """Whether it does not fit even if all calls under way turn out to cost nothing."""
        return self.spent_picousd + self.need_picousd > self.cap_picousd


Retry = Callable[[], Awaitable[Refusal | None]]

FAIR_FOR_S = 1.0  # so long the first in line keeps back others; then whatever fits is sent

_Place = tuple[UUID, float]  # a call, and the monotonic time since which it waits
_lines: dict[int, list[_Place]] = {}  # by period: the calls that wait, in their order
_sleepers: WeakKeyDictionary[asyncio.AbstractEventLoop, set[asyncio.Event]] = WeakKeyDictionary()


def is_taken(period_id: int, call_id: UUID) -> bool:
    """Return whether another call of this process is to be served before this one."""
    # The event loop may change the line while the ORM's thread is here.
    first, since = next(iter(_lines.get(period_id, ())), (call_id, 0.0))
    return first != call_id and time.monotonic() < since + FAIR_FOR_S


def settled() -> None:
    """Wake the calls of this event loop that wait; call it when a call has been settled."""
    for sleeper in _sleepers.get(asyncio.get_running_loop(), ()):
        sleeper.set()


async def take_turn(
    call_id: UUID, refusal: Refusal, retry: Retry, *, within_s: float
) -> Refusal | None:
    """Retry a reservation until it fits, or is refused for good, or the time is over.

    Returns:
        None if it fits, or else the last refusal.
    """
    ends_at = time.monotonic() + within_s
    woken = asyncio.Event()
    sleepers = _sleepers.setdefault(asyncio.get_running_loop(), set())
    sleepers.add(woken)
    waits: Refusal | None = refusal
    try:
        while waits is not None and not waits.is_for_good and time.monotonic() < ends_at:
            waits = await _in_line(call_id, waits, retry, woken, ends_at)
    finally:
        sleepers.discard(woken)
    return waits


async def _in_line(
    call_id: UUID, refusal: Refusal, retry: Retry, woken: asyncio.Event, ends_at: float
) -> Refusal | None:
    """Wait in the line of one period until the reservation fits or another period refuses it."""
    line = _lines.setdefault(refusal.period_id, [])
    place = (call_id, time.monotonic())
    line.append(place)
    tried_at = time.monotonic()
    try:
        while (left_s := ends_at - time.monotonic()) > 0:
            woken.clear()
            is_due = line[0] is place or time.monotonic() >= tried_at + FAIR_FOR_S
            if is_due and not is_taken(refusal.period_id, call_id):
                tried_at = time.monotonic()
                again = await retry()
                if again is None or again.is_for_good or again.period_id != refusal.period_id:
                    return again
                refusal = again
            try:
                await asyncio.wait_for(woken.wait(), min(LOOK_S, left_s))
            except TimeoutError:
                continue
        return refusal
    finally:
        line.remove(place)
        if not line:
            _lines.pop(refusal.period_id, None)
        settled()  # the next in line
