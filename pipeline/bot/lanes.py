"""One chat's runs strictly in order, everything else side by side; and how it all comes to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Hashable
from weakref import WeakValueDictionary

from telegram import Message
from telegram.ext import BaseUpdateProcessor

MAX_AT_ONCE = 256
GRACE_S = 0.3  # what was cancelled may still write down that it was


class Lane:
    """Where one chat's messages line up: through the door to get a reply, then each in its turn.

    asyncio's locks serve in the order of asking. Whoever asks for the turn as the very next thing
    after leaving the door keeps the order in which the messages came.
    """

    def __init__(self) -> None:
        self.door = asyncio.Lock()
        self.turn = asyncio.Lock()


class Lanes:
    """The lanes of all chats; one that nobody is in takes no room."""

    def __init__(self) -> None:
        self._lanes: WeakValueDictionary[Hashable, Lane] = WeakValueDictionary()

    def of(self, message: Message) -> Lane:
        """Return the lane of the message's chat and thread."""
        return self._lanes.setdefault((message.chat_id, message.message_thread_id), Lane())


class RunningUpdates(BaseUpdateProcessor):
    """Handles updates side by side, begun in the order of arrival, and can end them."""

    def __init__(self) -> None:
        super().__init__(MAX_AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()
        self._is_ending = False

    async def initialize(self) -> None:
        """Nothing to prepare."""

    async def shutdown(self) -> None:
        """Nothing to release: `end` has ended what ran."""

    async def do_process_update(self, update: object, coroutine: Awaitable[None]) -> None:
        """Handle the update."""
        task = asyncio.ensure_future(coroutine)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        if self._is_ending:
            task.cancel()
        await task

    async def end(self, until: float) -> None:
        """Cancel what is being handled; its last words are cut off at `until` (monotonic)."""
        self._is_ending = True
        for within_s in (until - time.monotonic(), GRACE_S):
            if self._running:
                for task in self._running:
                    task.cancel()
                await asyncio.wait(self._running, timeout=max(0.0, within_s))
