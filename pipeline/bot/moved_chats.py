"""Redirects calls to the new chat id after a group became a supergroup.

Telegram refuses the old id with `migrate_to_chat_id`
(https://core.telegram.org/bots/api#responseparameters). Every call of the bot passes through here,
so replies, edits and alerts are all redirected. The moved ids are stored in the database for the
operators' page.
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

MAX_MOVES = 3  # a supergroup does not move again; the bound guards against a faulty server


class FollowsMovedChats(BaseRateLimiter[Ticket]):
    """Rate limiter that sends each call to its chat's current id, and wraps the actual limiter."""

    def __init__(self, limiter: BaseRateLimiter[Ticket]) -> None:
        self._limiter = limiter
        self._moved: dict[str, int] = {}

    async def initialize(self) -> None:
        """Prepare the wrapped limiter."""
        await self._limiter.initialize()

    async def shutdown(self) -> None:
        """Close the wrapped limiter."""
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
        """Make the call, and repeat it with the new chat id if Telegram names one."""
        chat_id = data.get("chat_id")
        for _ in range(MAX_MOVES):
            # The library also passes `data` to the callback within `args`, so changing it here
            # changes the request.
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
        except DatabaseError:  # the next call to the old id stores it, in any process
            logger.warning("chat=%s: the move could not be kept", old_id, exc_info=True)


def _keep(old_id: str, new_id: int) -> None:
    try:
        MovedChat.objects.update_or_create(old_id=int(old_id), defaults={"new_id": new_id})
    except ValueError:
        logger.debug("chat=%s: a name and no id leads to the new group by itself", old_id)
