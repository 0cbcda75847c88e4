"""One answer as the member sees it: a placeholder at once, stages while it works, then the text.

Stages are edited in by a task of their own, slowly enough for Telegram's limits; the run never
waits for them. What must survive a restart lies in the outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from django.db import Error as DatabaseError
from telegram.error import RetryAfter, TelegramError

from pipeline.bot import texts
from pipeline.bot.lines import Buttons
from pipeline.bot.messages import Chunk
from pipeline.bot.outbox import MessageGone, Outbox
from pipeline.bot.patience import seconds
from pipeline.holds import Superseded

PRIVATE_EDIT_EVERY_S = 1.5
GROUP_EDIT_EVERY_S = 3.0  # a group has 20 messages a minute, edits included
STAGE_EDIT_ENDS_WITHIN_S = 10.0  # the library gives up a request before that


class LiveReply:
    """The reply to one message."""

    def __init__(self, outbox: Outbox, *, is_private: bool = True) -> None:
        self._outbox = outbox
        self._edit_every_s = PRIVATE_EDIT_EVERY_S if is_private else GROUP_EDIT_EVERY_S
        self._next_edit_at = 0.0
        self._has_edited = False
        self._stages: list[str] = []
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Show the placeholder, and stages in it until the block ends."""
        await self._outbox.show_placeholder(texts.PLACEHOLDER)
        # A first stage at once would put off a quick answer: edits keep their distance.
        self._next_edit_at = time.monotonic() + self._edit_every_s
        editor = asyncio.create_task(self._show_stages())
        try:
            yield
        except asyncio.CancelledError:
            editor.cancel()
            raise
        finally:
            await self._stop(editor)

    def stage(self, title: str) -> None:
        """Name what is being done now; returns at once."""
        self._stages.append(title)
        self._changed.set()

    async def close(self, chunks: Sequence[Chunk], buttons: Buttons = ()) -> None:
        """Turn the placeholder into the answer and send what does not fit into it."""
        await self._outbox.keep(chunks, buttons)
        if self._has_edited:
            pause_s = self._next_edit_at - time.monotonic()
            await asyncio.sleep(min(pause_s, self._edit_every_s))
        await self._outbox.deliver()

    async def _show_stages(self) -> None:
        """Edit the latest stage in, no more often than Telegram likes."""
        wait_s = self._edit_every_s
        while True:
            await self._changed.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._next_edit_at - time.monotonic())
            if self._closing.is_set():
                return
            self._changed.clear()
            with contextlib.suppress(TelegramError, MessageGone, Superseded, DatabaseError):
                try:
                    self._has_edited = True
                    await self._outbox.edit_placeholder(f"{self._stages[-1]}…")
                except RetryAfter as error:
                    wait_s = max(wait_s, seconds(error))  # this chat only
            self._next_edit_at = time.monotonic() + wait_s

    async def _stop(self, editor: asyncio.Task[None]) -> None:
        """Let an edit that is under way arrive; cut off, it could overtake what comes after it."""
        self._closing.set()
        self._changed.set()
        _, late = await asyncio.wait({editor}, timeout=STAGE_EDIT_ENDS_WITHIN_S)
        for task in late:
            task.cancel()
