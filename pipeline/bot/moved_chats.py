"""Groups that became supergroups: what is sent to the old id goes to the new one.

Telegram refuses the old id with `migrate_to_chat_id`
(https://core.telegram.org/bots/api#responseparameters). Every call of the bot passes here, so
replies, edits and alerts follow alike. Which ids moved is kept in the database for the operators'
page.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from asgiref.sync import sync_to_async
from django.db import DatabaseError
from telegram.error import ChatMigrated
from telegram.ext import BaseRateLimiter

from pipeline.bot.limiter import Ticket
from pipeline.models import MovedChat

logger = logging.getLogger(__name__)

MAX_MOVES = 3  # a supergroup does not move again; the bound is against a server gone wrong


class FollowsMovedChats(BaseRateLimiter[Ticket]):
    """Sends a call to where its chat is now, at the pace that another limiter sets."""

    def __init__(self, limiter: BaseRateLimiter[Ticket]) -> None:
        self._limiter = limiter
        self._moved: dict[str, int] = {}

    async def initialize(self) -> None:
        """Prepare the limiter."""
        await self._limiter.initialize()

    async def shutdown(self) -> None:
        """Close the limiter."""
        await self._limiter.shutdown()

    async def process_request(
        self,
        callback: Callable[..., Coroutine[Any, Any, Any]],
        args: Any,
        kwargs: dict[str, Any],
        endpoint: str,
        data: dict[str, Any],
        rate_limit_args: Ticket | None,
    ) -> Any:
        """Make the call, once more under the new id where Telegram names one."""
        chat_id = data.get("chat_id")
        for _ in range(MAX_MOVES):
            # The library passes `data` to the callback among `args`: a change here is a change
            # there.
            if str(chat_id) in self._moved:
                chat_id = data["chat_id"] = self._moved[str(chat_id)]
            try:
                return await self._limiter.process_request(
                    callback, args, kwargs, endpoint, data, rate_limit_args
                )
            except ChatMigrated as error:
                await self._note(chat_id, error.new_chat_id)
        raise ChatMigrated(int(str(chat_id)))

    async def _note(self, old_id: object, new_id: int) -> None:
        self._moved[str(old_id)] = new_id
        logger.warning("chat=%s: it has become the supergroup %s", old_id, new_id)
        try:
            await sync_to_async(_keep)(str(old_id), new_id)
        except DatabaseError:  # the next call to the old id keeps it, in any process
            logger.warning("chat=%s: the move could not be kept", old_id, exc_info=True)


def _keep(old_id: str, new_id: int) -> None:
    try:
        MovedChat.objects.update_or_create(old_id=int(old_id), defaults={"new_id": new_id})
    except ValueError:
        logger.debug("chat=%s: a name and no id leads to the new group by itself", old_id)
