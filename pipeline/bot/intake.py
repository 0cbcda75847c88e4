"""Stores incoming updates with their tasks in one commit, before they are acknowledged."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeGuard

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from agents.llm.keys import seal
from agents.llm.router import provider_of_key
from agents.llm.secrets import straightened
from pipeline import crashpoints
from pipeline.bot.keyless import keyless
from pipeline.journal.text_store import clean
from pipeline.models.inbox import OPEN, Task, TaskKind, TaskStatus, TelegramUpdate
from pipeline.models.members import PastedKey, owner_of
from pipeline.queue import pastes
from pipeline.queue.base import AddTasks

logger = logging.getLogger(__name__)

# The update kinds requested from Telegram; any other kind that arrives is stored as well.
ALLOWED_UPDATES = ["message", "callback_query"]
CONTROL_COMMANDS = frozenset(  # handled at once, without waiting for the chat's current run
    {"cancel", "forget", "help", "link", "memory", "model", "settings", "start", "stats"}
)
NOTICE_EVERY = timedelta(minutes=1)  # minimum time between two "message queued" notices in a chat


UNREADABLE = (RecursionError, ValueError, TypeError, KeyError, AttributeError)

Json = dict[str, Any]


@transaction.atomic
def store(bot_id: int, updates: Sequence[Json], add_tasks: AddTasks) -> int:
    """Commit updates and their tasks; return the number of new updates.

    An update that was stored before is skipped.
    """
    # Telegram numbers updates in ascending order, so sorting by id restores their order.
    by_id = {update["update_id"]: update for update in updates}
    known = TelegramUpdate.objects.filter(bot_id=bot_id, update_id__in=by_id)
    for update_id in known.values_list("update_id", flat=True):
        del by_id[update_id]
    parsed = [_parse(bot_id, by_id[update_id]) for update_id in sorted(by_id)]
    TelegramUpdate.objects.bulk_create(stored.row for stored in parsed)
    PastedKey.objects.bulk_create(stored.pasted for stored in parsed if stored.pasted)
    add_tasks(_tasks_for(parsed))
    crashpoints.reach("storing updates")
    return len(parsed)


def _tasks_for(parsed: Sequence[StoredUpdate]) -> list[Task]:
    """Return the tasks for updates, including notices to chats whose messages must wait.

    A lane gets one notice at a time, and none while the parts of a paste arrive, because they are
    one message. A paste that waits only for its own parts gets a notice task too, which shows the
    placeholder.
    """
    now = timezone.now()
    busy, told = _standing({stored.lane for stored in parsed if stored.lane}, now - NOTICE_EVERY)
    tasks = []
    for stored in parsed:
        lane = stored.lane
        if not lane:
            tasks.append(Task(kind=TaskKind.CONTROL, update=stored.row))
            continue
        due_at = now + pastes.WAIT if stored.is_paste else None
        is_paste, kind = stored.is_paste, TaskKind.MESSAGE
        tasks.append(
            Task(kind=kind, lane=lane, update=stored.row, is_paste=is_paste, due_at=due_at)
        )
        is_first, is_part = lane not in busy, busy.get(lane, False)
        is_due = is_paste if is_first else lane not in told
        if stored.may_get_notice and is_due and not is_part:
            tasks.append(Task(kind=TaskKind.NOTICE, lane=lane, update=stored.row))
            told.add(lane)
        busy[lane] = is_paste or is_part
    return tasks


def _standing(lanes: set[str], since: datetime) -> tuple[dict[str, bool], set[str]]:
    """Return the lanes with open messages, and the lanes that need no notice.

    The first is a dict from lane to whether one of its pastes may still get parts. The second is
    the set of lanes that got a notice after `since`, or a notice about a message that is still
    open. (For a paste only the former counts, because its notice is its placeholder.)
    """
    of_lanes = Task.objects.filter(lane__in=lanes)
    open_tasks = of_lanes.filter(kind=TaskKind.MESSAGE, status__in=OPEN)
    busy: dict[str, bool] = {}
    for lane, is_paste, worker in open_tasks.values_list("lane", "is_paste", "worker"):
        busy[lane] = busy.get(lane, False) or (is_paste and not worker)
    notices = of_lanes.filter(kind=TaskKind.NOTICE, status__in=TaskStatus.values)
    is_recent = Q(created_at__gt=since)
    is_shown = Q(status__in=(*OPEN, TaskStatus.SUCCESSFUL))
    is_about_open = Q(update__in=open_tasks.filter(is_paste=False).values("update"))
    told = notices.filter(is_recent | (is_shown & is_about_open))
    return busy, set(told.values_list("lane", flat=True))


@dataclass(frozen=True, slots=True)
class StoredUpdate:
    """A parsed update: its database row, and the lane of its task ("" for a control task)."""

    row: TelegramUpdate
    lane: str = ""
    may_get_notice: bool = False
    is_paste: bool = False
    pasted: PastedKey | None = None


def _parse(bot_id: int, update: Json) -> StoredUpdate:
    """Return the update to store; a malformed update keeps only its id and becomes a dead letter.

    A malformed update must not keep the others of its batch from being stored.
    """
    try:
        row, lane = _row(bot_id, update), lane_of(update)
        return StoredUpdate(
            row,
            lane,
            may_get_notice=bool(lane) and _may_get_notice(update),
            is_paste=bool(lane) and pastes.may_go_on(update["message"]),
            pasted=_pasted(update, row),
        )
    except UNREADABLE:
        logger.exception("update %s cannot be kept as it is", update["update_id"])
        return StoredUpdate(TelegramUpdate(bot_id=bot_id, update_id=update["update_id"], raw="{}"))


def lane_of(update: Json) -> str:
    """Return the lane ("chat:topic") in which an update waits its turn; "" if it need not wait."""
    message = update.get("message")
    chat_id = _id_of(message, "chat")
    if chat_id is None or not isinstance(message, dict) or _command(message) in CONTROL_COMMANDS:
        return ""
    topic = message.get("message_thread_id") if message.get("is_topic_message") else None
    return f"{chat_id}:{topic or ''}"


def _may_get_notice(update: Json) -> bool:
    """Tell whether the sender may get a notice that the message is waiting.

    True for private messages outside an album, which always get an answer of their own; False if
    the message was sent more than a minute ago, for example while the bot was down.
    """
    message = update["message"]
    is_one = message["chat"].get("type") == "private" and not message.get("media_group_id")
    return is_one and not _is_older(message, NOTICE_EVERY)


def _is_older(message: Json, than: timedelta) -> bool:
    """Tell whether a message is older than a duration; True also if its date is not a number."""
    date = _number(message.get("date"))
    return date is None or time.time() - date > than.total_seconds()


def _row(bot_id: int, update: Json) -> TelegramUpdate:
    kind = next((name for name in update if name != "update_id"), "")
    content = update.get(kind)
    message = (
        content.get("message") if kind == "callback_query" and _is_object(content) else content
    )
    cleaned = keyless(update)
    return TelegramUpdate(
        bot_id=bot_id,
        update_id=update["update_id"],
        kind=clean(kind)[:60],
        chat_id=_id_of(message, "chat"),
        user_id=_id_of(content, "from"),
        album=clean(str(message.get("media_group_id") or ""))[:64] if _is_object(message) else "",
        holds_key=cleaned != update,
        raw=json.dumps(cleaned),
    )


def _pasted(update: Json, row: TelegramUpdate) -> PastedKey | None:
    """Return the encrypted key if a private message consists of an API key only; None otherwise.

    A key among other words is not taken, because its purpose is unclear, nor is a forwarded one,
    because it belongs to another person. A garbled key is repaired; the vendor's check tells later
    whether the repair was correct.
    """
    message = update.get("message")
    if not row.holds_key or not _is_object(message) or "forward_origin" in message:
        return None
    key = str(message.get("text", "")).strip()
    provider = provider_of_key(key)
    if provider is None:
        key = straightened(key)
        provider = provider_of_key(key)
    if provider is None or row.chat_id is None or row.chat_id != row.user_id:
        return None
    sealed = seal(key, owner=owner_of(row.chat_id), provider=provider)
    return PastedKey(
        update=row,
        telegram_id=row.chat_id,
        provider=provider,
        ciphertext=sealed.ciphertext,
        fingerprint=sealed.fingerprint,
    )


def _command(message: Json) -> str:
    """Return the command at the start of a message, without slash and bot name; "" without one."""
    for entity in _objects(message.get("entities")):
        if entity.get("type") == "bot_command" and entity.get("offset") == 0:
            text = str(message.get("text", ""))[: _number(entity.get("length")) or 0]
            return text[1:].partition("@")[0].lower()
    return ""


def _id_of(content: Any, name: str) -> int | None:
    inner = content.get(name) if _is_object(content) else None
    return _number(inner.get("id")) if _is_object(inner) else None


def _number(value: Any) -> int | None:
    # Must fit into 64 bits, like Telegram's ids and the database's columns.
    return value if isinstance(value, int) and -(2**63) <= value < 2**63 else None


def _objects(value: Any) -> Iterator[Json]:
    for part in value if isinstance(value, list) else ():
        if isinstance(part, dict):
            yield part


def _is_object(value: Any) -> TypeGuard[Json]:
    return isinstance(value, dict)
