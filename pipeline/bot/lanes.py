"""One chat's updates strictly in order, different chats side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from weakref import WeakValueDictionary

from telegram import Update
from telegram.ext import BaseUpdateProcessor

MAX_AT_ONCE = 256


class LaneProcessor(BaseUpdateProcessor):
    """Handles an update when all earlier ones of its lane have been handled."""

    def __init__(self) -> None:
        super().__init__(MAX_AT_ONCE)
        self._lanes: WeakValueDictionary[object, asyncio.Lock] = WeakValueDictionary()
        self._running: set[asyncio.Task[None]] = set()

    async def initialize(self) -> None:
        """Nothing to prepare."""

    async def shutdown(self) -> None:
        """Nothing to release: `drain` has ended what ran."""

    async def do_process_update(self, update: object, coroutine: Awaitable[None]) -> None:
        """Wait for the lane, then handle the update."""
        task = asyncio.ensure_future(self._in_lane(_lane(update), coroutine))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await task

    async def drain(self, within_s: float) -> None:
        """Wait for what is being handled; after `within_s` seconds cancel it."""
        if not self._running:
            return
        _, late = await asyncio.wait(self._running, timeout=within_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _in_lane(self, lane: object, coroutine: Awaitable[None]) -> None:
        # The dictionary holds a lock only while somebody in the lane does; asyncio's locks wake
        # their waiters in the order in which they came.
        lock = self._lanes.setdefault(lane, asyncio.Lock())
        async with lock:
            await coroutine


def _lane(update: object) -> object:
    if isinstance(update, Update) and update.effective_chat is not None:
        message = update.effective_message
        return update.effective_chat.id, message.message_thread_id if message else None
    return object()
