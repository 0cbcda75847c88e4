"""One answer as the member sees it: a placeholder at once, stages while it works, then the text.

The answer is an edit of the placeholder, so that sending it twice shows it once. Stages are edited
in by a task of their own, slowly enough for Telegram's limits; the run never waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from telegram import Chat, Message
from telegram.error import BadRequest, RetryAfter, TelegramError

from pipeline.bot import texts
from pipeline.bot.messages import Chunk
from pipeline.bot.patience import patiently, seconds

logger = logging.getLogger(__name__)

PRIVATE_EDIT_EVERY_S = 1.5
GROUP_EDIT_EVERY_S = 3.0  # a group has 20 messages a minute, edits included
STAGE_EDIT_ENDS_WITHIN_S = 10.0  # the library gives up a request before that


class LiveReply:
    """The reply to one message."""

    def __init__(self, message: Message, *, edit_every_s: float | None = None) -> None:
        self._message = message
        if edit_every_s is None:
            is_private = message.chat.type == Chat.PRIVATE
            edit_every_s = PRIVATE_EDIT_EVERY_S if is_private else GROUP_EDIT_EVERY_S
        self._edit_every_s = edit_every_s
        self._placeholder: Message | None = None
        self._holds_answer = False
        self._stages: list[str] = []
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._editor: asyncio.Task[None] | None = None

    @property
    def holds_answer(self) -> bool:
        """Whether the member may be reading the answer, so that nothing must replace it."""
        return self._holds_answer

    async def open(self, text: str = texts.PLACEHOLDER) -> None:
        """Show the placeholder."""
        self._placeholder = await patiently(partial(self._send, text, []))
        self._editor = asyncio.create_task(self._show_stages())

    def stage(self, title: str) -> None:
        """Name what is being done now; returns at once."""
        self._stages.append(title)
        self._changed.set()

    async def close(self, chunks: Sequence[Chunk]) -> None:
        """Turn the placeholder into the answer and send what does not fit into it."""
        await self._stop_editor()
        (text, entities), *rest = chunks
        self._holds_answer = True  # a try that is cut off may have arrived
        try:
            await patiently(partial(self._edit, text, entities))
        except TelegramError:
            self._holds_answer = False
            raise
        for part, part_entities in rest:
            await patiently(partial(self._send, part, part_entities))

    async def fail(self, line: str) -> None:
        """Turn the placeholder into one line, or send it below an answer that stands there.

        A line that cannot be shown is logged.
        """
        await self._stop_editor()
        show = self._send if self._holds_answer else self._edit
        try:
            await patiently(partial(show, line, []))
        except TelegramError as error:
            logger.warning("chat=%s: no line could be shown: %s", self._message.chat_id, error)

    async def _show_stages(self) -> None:
        """Edit the latest stage in, no more often than Telegram likes."""
        wait_s, next_at = self._edit_every_s, 0.0
        while True:
            await self._changed.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), next_at - time.monotonic())
            if self._closing.is_set():
                return
            self._changed.clear()
            with contextlib.suppress(TelegramError):
                try:
                    await self._edit(f"{self._stages[-1]}…", [])
                except RetryAfter as error:
                    wait_s = max(wait_s, seconds(error))  # this chat only
            next_at = time.monotonic() + wait_s

    async def _stop_editor(self) -> None:
        """Let an edit that is under way arrive; cut off, it could overtake what comes after it."""
        self._closing.set()
        self._changed.set()
        if self._editor is not None:
            _, late = await asyncio.wait({self._editor}, timeout=STAGE_EDIT_ENDS_WITHIN_S)
            for editor in late:
                editor.cancel()

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
