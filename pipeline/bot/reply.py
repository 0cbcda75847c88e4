"""One answer as the member sees it: a placeholder at once, stages while it works, then the text.

The answer is an edit of the placeholder, so that sending it twice shows it once. Stages are edited
in by a task of their own, slowly enough for Telegram's limits; the run never waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import stamina
from telegram import Chat, Message
from telegram.error import BadRequest, Forbidden, NetworkError, RetryAfter, TelegramError

from pipeline.bot import texts
from pipeline.bot.messages import Chunk

logger = logging.getLogger(__name__)

PRIVATE_EDIT_EVERY_S = 1.5
GROUP_EDIT_EVERY_S = 3.0  # a group has 20 messages a minute, edits included
GIVE_UP_AFTER_S = 120.0


class LiveReply:
    """The reply to one message."""

    def __init__(self, message: Message, *, edit_every_s: float | None = None) -> None:
        self._message = message
        if edit_every_s is None:
            is_private = message.chat.type == Chat.PRIVATE
            edit_every_s = PRIVATE_EDIT_EVERY_S if is_private else GROUP_EDIT_EVERY_S
        self._edit_every_s = edit_every_s
        self._placeholder: Message | None = None
        self._stages: list[str] = []
        self._changed = asyncio.Event()
        self._editor: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Show the placeholder."""
        self._placeholder = await _patiently(partial(self._send, texts.PLACEHOLDER, []))
        self._editor = asyncio.create_task(self._show_stages())

    def stage(self, title: str) -> None:
        """Name what is being done now; returns at once."""
        self._stages.append(title)
        self._changed.set()

    async def close(self, chunks: Sequence[Chunk]) -> None:
        """Turn the placeholder into the answer and send what does not fit into it."""
        await self._stop_editor()
        (text, entities), *rest = chunks
        await _patiently(partial(self._edit, text, entities))
        for part, part_entities in rest:
            await _patiently(partial(self._send, part, part_entities))

    async def fail(self, line: str) -> None:
        """Turn the placeholder into one line; a reply that cannot be shown is logged."""
        try:
            await self.close([(line, [])])
        except TelegramError as error:
            logger.warning("chat=%s: no line could be shown: %s", self._message.chat_id, error)

    async def _show_stages(self) -> None:
        """Edit the latest stage in, no more often than Telegram likes."""
        wait_s = self._edit_every_s
        shown_at = time.monotonic() - self._edit_every_s
        while True:
            await self._changed.wait()
            await asyncio.sleep(max(0.0, shown_at + wait_s - time.monotonic()))
            self._changed.clear()
            with contextlib.suppress(TelegramError):
                try:
                    await self._edit(f"{self._stages[-1]}…", [])
                except RetryAfter as error:
                    wait_s = max(wait_s, _seconds(error))  # this chat only
            shown_at = time.monotonic()

    async def _stop_editor(self) -> None:
        if self._editor is not None:
            self._editor.cancel()
            await asyncio.gather(self._editor, return_exceptions=True)
            self._editor = None

    async def _edit(self, text: str, entities: Sequence[Any]) -> None:
        if self._placeholder is None:
            self._placeholder = await self._send(text, entities)
            return
        try:
            await self._placeholder.edit_text(text, entities=entities)
        except BadRequest as error:
            reason = str(error).lower()
            if "not modified" in reason:
                return  # it is there already: an earlier try had arrived
            if "entit" in reason and entities:
                await self._edit(text, [])
            elif "not found" in reason or "can't be edited" in reason:
                self._placeholder = await self._send(text, entities)
            else:
                raise

    async def _send(self, text: str, entities: Sequence[Any]) -> Message:
        try:
            return await self._message.reply_text(text, entities=entities)
        except BadRequest as error:
            if "entit" in str(error).lower() and entities:
                return await self._message.reply_text(text)
            raise


async def _patiently(call: Callable[[], Awaitable[Any]]) -> Any:
    """Make a call to Telegram again while it asks to wait or cannot be reached.

    A request that timed out may have arrived: an edit is safe to repeat, a message may appear
    twice, which is better than not at all.
    """
    async for attempt in stamina.retry_context(
        on=_wait_before_next, attempts=None, timeout=GIVE_UP_AFTER_S
    ):
        with attempt:
            return await call()
    raise AssertionError("stamina ends with a result or with the last error")


def _wait_before_next(error: Exception) -> bool | float:
    if isinstance(error, RetryAfter):
        return _seconds(error)
    # BadRequest is a NetworkError in the library's tree, but no second try makes it good.
    return isinstance(error, NetworkError) and not isinstance(error, BadRequest | Forbidden)


def _seconds(error: RetryAfter) -> float:
    wait = error.retry_after
    return wait if isinstance(wait, int) else wait.total_seconds()
