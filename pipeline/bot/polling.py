"""Fetches updates from Telegram by long polling, through every outage, until the token is refused.

The library's own loop stops silently when the token is refused, and always removes the webhook.
This loop ends with the error, and is restarted if it stops or hangs for any other reason. The
request itself stores the updates that it fetches (`pipeline.bot.transport`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from datetime import timedelta

from asgiref.sync import sync_to_async
from django.db import Error as DatabaseError
from django.utils import timezone
from telegram import Bot
from telegram.error import Conflict, InvalidToken, RetryAfter, TelegramError

from agents.cancelling import end
from agents.llm.secrets import scrub
from pipeline.bot.intake import ALLOWED_UPDATES
from pipeline.bot.patience import seconds
from pipeline.models import Poller as PollerRow

logger = logging.getLogger(__name__)

LONG_POLL_S = 10
SILENT_S = 60.0  # several times the maximum duration of one fetch; after this, the loop hangs
TELL_EVERY_S = 5.0
STOPS_WITHIN_S = 1.0
FIRST_PAUSE_S = 0.2
MAX_PAUSE_S = 5.0


class Poller:
    """Long-polling loop that fetches a bot's updates."""

    def __init__(self, bot: Bot, bot_id: int, *, silent_s: float = SILENT_S) -> None:
        self._bot = bot
        self._bot_id = bot_id
        self._silent_s = silent_s
        self._offset: int | None = None
        self._trouble = ""
        self._tried_at = time.monotonic()
        self._told_at = -math.inf

    async def poll(self) -> None:
        """Fetch until cancelled; restart the loop if it ends or hangs.

        Raises:
            InvalidToken: Telegram does not accept the token (any more).
        """
        while True:
            self._tried_at = time.monotonic()
            polling = asyncio.create_task(self._poll(), name="polling")
            try:
                while not polling.done() and self._silence_s() < self._silent_s:
                    await asyncio.wait({polling}, timeout=self._silent_s - self._silence_s())
            finally:
                await end([polling], STOPS_WITHIN_S)
            error = None
            if polling.done() and not polling.cancelled():
                error = polling.exception()
            if isinstance(error, InvalidToken):
                raise error
            logger.error("polling had stopped and is started again", exc_info=error)
            await asyncio.sleep(FIRST_PAUSE_S)

    async def fetch(self, wait_s: float) -> None:
        """Fetch and store the pending updates, or wait up to `wait_s` seconds for some.

        Acknowledges the updates of the previous fetch.

        Raises:
            TelegramError: nothing was stored, so nothing is acknowledged and the updates come
                again.
        """
        try:
            updates = await self._bot.get_updates(
                offset=self._offset,
                timeout=timedelta(seconds=wait_s),
                allowed_updates=ALLOWED_UPDATES,
            )
        except TelegramError as error:
            await self._tell(error)
            raise
        if updates:
            self._offset = max(update.update_id for update in updates) + 1
        await self._tell(None)

    async def _poll(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            self._tried_at = time.monotonic()
            try:
                await self.fetch(LONG_POLL_S)
            except InvalidToken:
                raise
            except TelegramError as error:
                wait_s = seconds(error) if isinstance(error, RetryAfter) else pause_s
                await asyncio.sleep(min(wait_s, self._silent_s / 2))
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
            else:
                pause_s = FIRST_PAUSE_S

    def _silence_s(self) -> float:
        return time.monotonic() - self._tried_at

    async def _tell(self, error: TelegramError | None) -> None:
        """Log when a series of equal failures begins or ends, and store when Telegram answered.

        `error` is None after a successful fetch.
        """
        trouble = "" if error is None else type(error).__name__
        has_changed = trouble != self._trouble
        self._trouble = trouble
        if has_changed:
            _log(error)
        if has_changed or time.monotonic() > self._told_at + TELL_EVERY_S:
            try:
                await sync_to_async(self._note)(trouble)
            except DatabaseError:
                logger.debug("the poller's row could not be written", exc_info=True)
            self._told_at = time.monotonic()

    def _note(self, trouble: str) -> None:
        heard = {} if trouble else {"heard_at": timezone.now(), "username": self._bot.username}
        PollerRow.objects.update_or_create(
            bot_id=self._bot_id,
            defaults={"trouble": trouble, **heard},
            create_defaults={"trouble": trouble, "heard_at": timezone.now(), **heard},
        )


def _log(error: TelegramError | None) -> None:
    if error is None:
        logger.info("polling again")
    elif isinstance(error, Conflict):
        logger.error("another process uses this bot's token: stop one of them (%s)", error)
    elif isinstance(error.__cause__, DatabaseError):
        logger.error(
            "updates cannot be stored, so none is acknowledged: %s", scrub(str(error.__cause__))
        )
    else:
        logger.warning("polling: %s", scrub(str(error)))
