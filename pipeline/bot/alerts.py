"""What the operators have to hear, in their chat or at least in the log."""

from __future__ import annotations

import asyncio
import logging

from django.conf import settings
from telegram import Bot
from telegram.error import BadRequest, ChatMigrated, Forbidden, TelegramError

from agents.llm.secrets import scrub

TOLD_WITHIN_S = 20.0  # sooner than its chore is due again, and another process might tell it too

logger = logging.getLogger(__name__)


class Alerts:
    """Tells the operators' chat, or at least the log."""

    def __init__(self) -> None:
        self._bot: Bot | None = None
        self._sending: set[asyncio.Task[bool]] = set()

    def use(self, bot: Bot) -> None:
        """Send alerts by this bot from now on."""
        self._bot = bot

    def post(self, text: str) -> None:
        """Alert; returns at once."""
        logger.error("alert: %s", text)
        task = asyncio.create_task(self._send(text))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def tell(self, text: str) -> bool:
        """Alert, and return whether that is all that can be done; False: try again later."""
        logger.error("alert: %s", text)
        try:
            async with asyncio.timeout(TOLD_WITHIN_S):
                return await self._send(text)
        except TimeoutError:
            return False

    async def drain(self) -> None:
        """Wait for alerts that are being sent."""
        await asyncio.gather(*self._sending)

    async def _send(self, text: str) -> bool:
        if self._bot is None or not settings.OPERATOR_CHAT_ID:
            return True  # the log has it
        try:
            await self._bot.send_message(settings.OPERATOR_CHAT_ID, f"🔔 {scrub(text)[:4000]}")
        except TelegramError as error:
            logger.warning("the operators' chat could not be told: %s", error)
            return isinstance(error, BadRequest | ChatMigrated | Forbidden)  # it never can
        return True
