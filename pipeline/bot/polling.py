"""Fetches updates from Telegram, through every outage, until the token is refused.

The library's own loop goes deaf without a word when the token is refused, and sleeps through a
stop; this one ends with the error, and at once when it is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from telegram import Bot
from telegram.error import Conflict, InvalidToken, RetryAfter, TelegramError

from agents.llm.keys import scrub
from pipeline.bot.patience import seconds

logger = logging.getLogger(__name__)

ALLOWED_UPDATES = ["message"]
LONG_POLL_S = 10
FIRST_PAUSE_S = 0.2
MAX_PAUSE_S = 5.0


class Poller:
    """Puts a bot's updates into a queue."""

    def __init__(self, bot: Bot, queue: asyncio.Queue[object]) -> None:
        self._bot = bot
        self._queue = queue
        self._offset: int | None = None
        self._trouble = ""

    async def poll(self) -> None:
        """Fetch until cancelled.

        Raises:
            InvalidToken: Telegram does not know the token (any more).
        """
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self.fetch(LONG_POLL_S)
            except InvalidToken:
                raise
            except Exception as error:  # noqa: BLE001 - an update that the library cannot read raises anything
                self._tell(error)
                await asyncio.sleep(seconds(error) if isinstance(error, RetryAfter) else pause_s)
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
            else:
                pause_s = FIRST_PAUSE_S
                if self._trouble:
                    logger.info("polling again")
                    self._trouble = ""

    async def fetch(self, wait_s: float) -> None:
        """Queue the updates there are, or come within `wait_s`; acknowledges those before."""
        try:
            updates = await self._bot.get_updates(
                offset=self._offset,
                timeout=timedelta(seconds=wait_s),
                allowed_updates=ALLOWED_UPDATES,
            )
        except Conflict as error:
            self._tell(error)
            raise
        for update in updates:
            self._queue.put_nowait(update)
            self._offset = update.update_id + 1

    async def acknowledge(self) -> None:
        """Tell Telegram what was fetched, so that the next start does not get it again."""
        if self._offset is None:
            return
        try:
            await self._bot.get_updates(
                offset=self._offset, timeout=timedelta(0), allowed_updates=ALLOWED_UPDATES
            )
        except TelegramError as error:
            logger.warning("the last updates may come again: %s", scrub(str(error)))

    def _tell(self, error: Exception) -> None:
        """Log the first of a row of equal failures."""
        trouble = type(error).__name__
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if isinstance(error, Conflict):
            logger.error("another process uses this bot's token: stop one of them (%s)", error)
        elif isinstance(error, TelegramError):
            logger.warning("polling: %s", scrub(str(error)))
        else:
            logger.error("updates could not be read", exc_info=error)
