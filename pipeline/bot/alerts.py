"""What the operators have to hear at once."""

from __future__ import annotations

import asyncio
import logging

from django.conf import settings
from telegram import Bot
from telegram.error import TelegramError

from agents.llm.keys import scrub

logger = logging.getLogger(__name__)


class Alerts:
    """Tells the operators' chat, or at least the log."""

    def __init__(self) -> None:
        self._bot: Bot | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def use(self, bot: Bot) -> None:
        """Send alerts by this bot from now on."""
        self._bot = bot

    def post(self, text: str) -> None:
        """Alert; returns at once."""
        logger.error("alert: %s", text)
        if self._bot is not None and settings.OPERATOR_CHAT_ID:
            task = asyncio.get_running_loop().create_task(self._send(self._bot, text))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def drain(self) -> None:
        """Wait for alerts that are being sent."""
        await asyncio.gather(*self._sending)

    async def _send(self, bot: Bot, text: str) -> None:
        try:
            await bot.send_message(settings.OPERATOR_CHAT_ID, f"🔔 {scrub(text)[:4000]}")
        except TelegramError as error:
            logger.warning("the operators' chat could not be told: %s", error)
