"""The live reply to a message: a placeholder at once, stages during the run, then the answer.

Background tasks show the placeholder and the stages, slowly enough for Telegram's limits. The run
does not wait for them, and an answer that is ready before its placeholder could be sent goes out
without one. Everything that must survive a restart is in the outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from django.db import Error as DatabaseError
from telegram.error import RetryAfter, TelegramError

from agents.cancelling import end
from pipeline.bot import texts
from pipeline.bot.messages import Chunk
from pipeline.bot.outbox import Outbox
from pipeline.bot.patience import seconds
from pipeline.bot.placeholders import MessageGone
from pipeline.bot.static_reply import Buttons
from pipeline.journal.fencing import Superseded

PRIVATE_EDIT_EVERY_S = 1.5
GROUP_EDIT_EVERY_S = 3.0  # a group has 20 messages a minute, edits included
STAGE_EDIT_ENDS_WITHIN_S = 10.0  # longer than the library's own timeout of a request
# Once a message has waited this long, a placeholder tells the member nothing new and only delays
# answers. The shorter time applies in a rush, while other members wait, too.
WAITED_IN_A_RUSH, WAITED = timedelta(seconds=5), timedelta(seconds=60)

logger = logging.getLogger(__name__)


def is_placeholder_due(waited: timedelta, *, is_rush: bool) -> bool:
    """Tell whether a message that has waited this long for its turn should get a placeholder."""
    return waited < (WAITED_IN_A_RUSH if is_rush else WAITED)


class LiveReply:
    """The reply to one message, from placeholder to answer."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        edit_every_s: float = PRIVATE_EDIT_EVERY_S,
        has_placeholder: bool = True,
    ) -> None:
        """`edit_every_s` is the minimum time between two stages.

        For `has_placeholder`, see `is_placeholder_due`.
        """
        self._outbox = outbox
        self._has_placeholder = has_placeholder
        self._edit_every_s = edit_every_s
        self._next_edit_at = 0.0
        self._stages: list[str] = []
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Show the placeholder, and the stages in it until the block ends.

        Raises:
            TelegramError: this chat accepts no placeholder, so it would accept no answer either.
        """
        showing = asyncio.create_task(self._show_placeholder(), name="placeholder")
        editor = asyncio.create_task(self._show_stages(), name="stages")
        try:
            if self._has_placeholder:
                await self._shown_or_held_up(showing)
            # Edits are spaced out, so a first stage shown at once would delay a quick answer.
            self._next_edit_at = time.monotonic() + self._edit_every_s
            yield
        except asyncio.CancelledError:
            await end([showing, editor])
            raise
        finally:
            await self._stop(editor)
            await self._call_off(showing)

    def stage(self, title: str) -> None:
        """Set the title of the current stage; returns at once."""
        self._stages.append(title)
        self._changed.set()

    async def close(self, chunks: Sequence[Chunk], buttons: Buttons = ()) -> None:
        """Turn the placeholder into the answer, and send the remaining chunks as new messages.

        The answer does not wait `edit_every_s` after the last stage: the limiter does what Telegram
        requires.
        """
        await self._outbox.keep(chunks, buttons)
        await self._outbox.deliver()

    async def _shown_or_held_up(self, showing: asyncio.Task[None]) -> None:
        """Wait until the placeholder is shown, or until it has to wait for its turn.

        Raises the placeholder's error, so that no run is paid for in a chat that accepts none.
        """
        held_up = asyncio.create_task(
            self._outbox.placeholder_is_held_up(), name="placeholder held up"
        )
        try:
            await asyncio.wait({showing, held_up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            held_up.cancel()
        if showing.done():
            showing.result()

    async def _show_placeholder(self) -> None:
        if self._has_placeholder:
            await self._outbox.show_placeholder(texts.PLACEHOLDER)

    async def _call_off(self, showing: asyncio.Task[None]) -> None:
        """Cancel the placeholder if it has not been sent yet; otherwise wait until it is shown."""
        if not self._outbox.placeholder_has_left:
            await end([showing])
        await asyncio.wait({showing})
        error = None if showing.cancelled() else showing.exception()
        if isinstance(error, Superseded):
            raise error
        if error is not None:
            logger.info("no placeholder could be shown: %s", error)

    async def _show_stages(self) -> None:
        """Show the latest stage in the placeholder, no more often than Telegram's limits allow."""
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
                    await self._outbox.edit_placeholder(f"{self._stages[-1]}…")
                except RetryAfter as error:
                    wait_s = max(wait_s, seconds(error))  # slows down only this reply
            self._next_edit_at = time.monotonic() + wait_s

    async def _stop(self, editor: asyncio.Task[None]) -> None:
        """End the stages, but let an edit in flight finish: cancelled, it may overwrite the answer.

        Telegram may process a cancelled request after the next one.
        """
        self._closing.set()
        self._changed.set()
        _, late = await asyncio.wait({editor}, timeout=STAGE_EDIT_ENDS_WITHIN_S)
        for task in late:
            task.cancel()
