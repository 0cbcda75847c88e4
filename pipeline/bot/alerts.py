"""Sends alerts and news to the operators' chat, and writes them to the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone
from telegram import Bot
from telegram.error import BadRequest, ChatMigrated, Forbidden, TelegramError

from agents.llm.secrets import scrub
from pipeline.bot.refusals import never_arrived
from pipeline.bot.static_reply import as_lists, keyboard
from pipeline.models.inbox import Buttons, SentAlert

SENT_WITHIN_S = 20.0  # shorter than the periodic job's interval, lest another process send it too
MAX_CHARACTERS = 4000  # Telegram takes 4,096
NOTED_WITHIN_S = 2.0
KEPT_FOR = timedelta(days=30)

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class Alerts:
    """Sends alerts to the operators' chat; each is logged in any case."""

    def __init__(self) -> None:
        self._bot: Bot | None = None
        self._sending: set[asyncio.Task[bool]] = set()

    def use(self, bot: Bot) -> None:
        """Send alerts through this bot from now on."""
        self._bot = bot

    def send_soon(self, text: str) -> None:
        """Log an alert now, and send it in the background."""
        logger.error("alert: %s", text)
        task = asyncio.create_task(self._send_to_chat(text), name="alert")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def send(self, text: str, buttons: Buttons = (), *, is_news: bool = False) -> bool:
        """Log and send an alert or, with `is_news`, a text about which nothing is to be done.

        Returns:
            True if it was sent or never can be; False if it should be tried again later.
        """
        if is_news:
            logger.info("news: %s", text)
        else:
            logger.error("alert: %s", text)
        try:
            async with asyncio.timeout(SENT_WITHIN_S):
                return await self._send_to_chat(text, buttons)
        except TimeoutError:
            return False

    async def drain(self) -> None:
        """Wait for the alerts that are being sent."""
        await asyncio.gather(*self._sending)

    async def _send_to_chat(self, text: str, buttons: Buttons = ()) -> bool:
        if self._bot is None or not settings.OPERATOR_CHAT_ID:
            return True  # it is in the log
        text = scrub(text)[:MAX_CHARACTERS]
        note = await _noted(partial(_note, text, buttons))
        try:
            message = await self._bot.send_message(
                settings.OPERATOR_CHAT_ID, f"🔔 {text}", reply_markup=keyboard(buttons)
            )
        except TelegramError as error:
            logger.warning("the operators' chat could not be reached: %s", error)
            if note is not None and never_arrived(error):
                await _noted(note.delete)
            return isinstance(error, BadRequest | ChatMigrated | Forbidden)  # can never be sent
        if note is not None:
            note.text, note.message_id = "", message.message_id
            note.chat_id = str(message.chat_id)  # the group may have moved
            await _noted(note.save)
        return True


def _note(text: str, buttons: Buttons) -> SentAlert:
    """Record that an alert is being sent, in a new row or in the row of an earlier, lost attempt.

    The second attempt clears the row's text, so that no later attempt finds it. Otherwise, a server
    that accepts alerts and never answers would get them forever.
    """
    now, chat_id = timezone.now(), str(settings.OPERATOR_CHAT_ID)
    SentAlert.objects.filter(left_at__lt=now - KEPT_FOR).delete()
    lost = SentAlert.objects.filter(chat_id=chat_id, message_id=None, text=text)
    row = lost.filter(left_at__lt=now - timedelta(seconds=SENT_WITHIN_S)).first()
    if row is None:
        return SentAlert.objects.create(
            chat_id=chat_id, text=text, buttons=as_lists(buttons), left_at=now
        )
    row.text, row.left_at = "", now
    row.save()
    return row


async def _noted(write: Callable[[], Result]) -> Result | None:
    """Write to the database and return the result; None if it fails or takes more than 2 s.

    The alert may be about the database itself, so it must not wait for it.
    """
    try:
        async with asyncio.timeout(NOTED_WITHIN_S):
            return await sync_to_async(write)()
    except (DatabaseError, TimeoutError) as error:
        logger.warning("an alert is not noted: %s", error)
        return None
