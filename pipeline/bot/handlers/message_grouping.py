"""Groups messages that belong together: forwarded messages and the member's comment on them.

Telegram sends them one by one, in either order and a moment apart. The task of the first message
waits for that moment, joins the others to it, and answers all of them together; the others then get
no reply of their own.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone
from telegram import Message

from pipeline.journal.fencing import Lease
from pipeline.models import Task, TelegramUpdate
from pipeline.models.inbox import TaskKind, TaskStatus

APART = timedelta(seconds=1)  # maximum gap between two messages of a group
COMES_WITHIN = timedelta(seconds=0.3)  # how long to wait for the next message
MAX_WAIT_S = 2.0
MOST = 20


async def joined(row: TelegramUpdate, lease: Lease, message: Message) -> list[Message]:
    """Return a message and those that were sent together with it, in order of arrival."""
    if await _more_has_come(row):
        await sync_to_async(_join)(row, lease)
    # Parts of a paste have been merged into the message's own text already.
    others = row.joined.exclude(tasks__status=TaskStatus.MERGED)
    raws = [other.raw async for other in others.order_by("pk")]
    bot = message.get_bot()
    return [message, *(Message.de_json(json.loads(raw)["message"], bot) for raw in raws)]


async def _more_has_come(row: TelegramUpdate) -> bool:
    """Wait until no message of the group has come for 0.3 s, but at most 2 s in all.

    Returns:
        Whether the group has any other message.
    """
    ends_at = time.monotonic() + MAX_WAIT_S
    while True:
        group = await sync_to_async(_group)(row)
        wait = max(one.received_at for one in group) + COMES_WITHIN - timezone.now()
        # If the clock was set back, the newest message may seem to lie far in the future.
        if time.monotonic() >= ends_at or not timedelta() < wait <= COMES_WITHIN:
            return len(group) > 1
        await asyncio.sleep(wait.total_seconds())


def _group(row: TelegramUpdate) -> list[TelegramUpdate]:
    return [row, *_followers(row)]


@transaction.atomic
def _join(row: TelegramUpdate, lease: Lease) -> None:
    """Join the following messages of the group, up to the first that a task has begun to answer."""
    lease.assert_held()
    for follower in _followers(row):
        task = Task.objects.select_for_update().filter(update=follower, kind=TaskKind.MESSAGE)
        if not task.filter(status=TaskStatus.READY).exists():
            return
        TelegramUpdate.objects.filter(pk=follower.pk).update(joined_to=row)


def _followers(row: TelegramUpdate) -> Iterator[TelegramUpdate]:
    """Yield the messages that follow this one and belong to its group.

    A group has at most one comment (a message that is not forwarded) and one picture.
    """
    rows = TelegramUpdate.objects.filter(
        bot_id=row.bot_id, chat_id=row.chat_id, user_id=row.user_id, kind="message"
    )
    first = _message(row)
    comments, pictures = int(not _is_forwarded(first)), int("photo" in first)
    before = row.received_at
    for follower in rows.filter(pk__gt=row.pk).order_by("pk")[:MOST]:
        message = _message(follower)
        comments += not _is_forwarded(message)
        pictures += "photo" in message
        is_soon = follower.received_at - before <= APART
        belongs = is_soon and comments <= 1 and pictures <= 1
        if not belongs or not _may_be_joined(follower, message):
            return
        before = follower.received_at
        yield follower


def _may_be_joined(row: TelegramUpdate, message: dict[str, Any]) -> bool:
    if row.joined_to_id is not None or row.holds_key or row.album:
        return False
    text = str(message.get("text") or "")
    return bool(text or message.get("photo")) and not text.startswith("/")


def _is_forwarded(message: dict[str, Any]) -> bool:
    return "forward_origin" in message


def _message(row: TelegramUpdate) -> dict[str, Any]:
    message = json.loads(row.raw).get("message")
    return message if isinstance(message, dict) else {}
