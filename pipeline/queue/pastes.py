"""Long texts that Telegram's apps split into messages: the parts are merged and answered once.

An app splits a text of more than 4,096 UTF-16 units into messages, at a space if there is one, and
sends them one right after the other (https://core.telegram.org/bots/api#sendmessage). A message
that may be the first part is claimable only after the next part has had time to arrive; the worker
that claims it merges the parts that have arrived, in the same transaction. No other message waits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from agents.llm.secrets import HIDDEN, scrub
from pipeline.models.inbox import Task, TaskKind, TaskStatus, TelegramUpdate
from pipeline.models.members import PastedKey

CUT_AT = 4096  # UTF-16 units: the maximum length of a message
MIN_UNITS = 4000  # less than `CUT_AT`, because an app that splits at a space leaves some room
WAIT = timedelta(seconds=1.2)  # after such a message was received
APART_S = 2  # maximum between the dates of two parts, which are whole seconds
MAX_PARTS = 20

Json = dict[str, Any]


def may_go_on(message: Json) -> bool:
    """Tell whether a message is so long that its text may continue in the next one."""
    text = message.get("text")
    return isinstance(text, str) and "forward_origin" not in message and _units(text) >= MIN_UNITS


def gather(head: Task, now: datetime) -> datetime | None:
    """Merge the parts of a paste that have arrived, in the transaction that claims the first one.

    The parts' tasks end as merged, and the first update then holds the whole message. If another
    part may be on its way, merge nothing and return the time until which to wait; else None.
    """
    if head.update is None or head.update.user_id is None:
        return None
    first = head.update
    parts = list(_parts_of(head, first))
    is_last_long, last = (parts[-1].task.is_paste, parts[-1].row) if parts else (True, first)
    until = last.received_at + WAIT
    # The upper bound: after a clock was set back, `until` could be far ahead.
    if is_last_long and len(parts) < MAX_PARTS and now < until <= now + WAIT:
        return until
    if parts:
        _merge(first, [part.row for part in parts])
        ids = [part.task.pk for part in parts]
        Task.objects.filter(pk__in=ids).update(status=TaskStatus.MERGED, token=None, ended_at=now)
    return None


@dataclass(frozen=True, slots=True)
class _Part:
    """A message that continues the one before it."""

    task: Task
    row: TelegramUpdate


def _parts_of(head: Task, first: TelegramUpdate) -> Iterator[_Part]:
    """Yield the parts that directly follow from the same sender in the same chat and topic."""
    following = Task.objects.filter(
        kind=TaskKind.MESSAGE,
        status=TaskStatus.READY,
        lane=head.lane,
        pk__gt=head.pk,
        update__user_id=first.user_id,
    )
    # Locked, so that a message that an operator erases meanwhile is not merged.
    tasks = following.select_for_update(of=("self",)).select_related("update").order_by("pk")
    before = _message(first)
    for task in tasks[:MAX_PARTS]:
        if task.update is None:
            return
        message = _message(task.update)
        if not _belongs(message, before) or _is_a_key(task.update):
            return
        before = message
        yield _Part(task, task.update)


def _belongs(message: Json, before: Json) -> bool:
    is_text = isinstance(message.get("text"), str) and "forward_origin" not in message
    dates = message.get("date"), before.get("date")
    if not is_text or not all(isinstance(date, int) for date in dates):
        return False
    is_soon = abs(message["date"] - before["date"]) <= APART_S
    return is_soon and not _begins_with_command(message)


def _begins_with_command(message: Json) -> bool:
    return any(
        entity.get("type") == "bot_command" and entity.get("offset") == 0
        for entity in _entities(message)
    )


def _is_a_key(row: TelegramUpdate) -> bool:
    """Tell whether a message is an API key and nothing else, and so not part of a text."""
    return row.holds_key and PastedKey.objects.filter(update=row).exists()


def _merge(first: TelegramUpdate, others: Sequence[TelegramUpdate]) -> None:
    """Write the whole message into the first update, without its text if that holds a key."""
    updates = [json.loads(row.raw) for row in (first, *others)]
    whole = _whole([update["message"] for update in updates])
    is_cut = scrub(whole["text"]) != whole["text"]  # a key was split, so both halves were stored
    first.holds_key = is_cut or any(row.holds_key for row in (first, *others))
    if first.holds_key:
        # The text is not read, and each part may contain part of a key.
        whole = {**updates[0]["message"], "text": HIDDEN, "entities": []}
        for row, update in zip(others, updates[1:], strict=True):
            update["message"]["text"] = ""
            TelegramUpdate.objects.filter(pk=row.pk).update(raw=json.dumps(update))
    first.raw = json.dumps({**updates[0], "message": whole})
    first.save(update_fields=["raw", "holds_key"])
    TelegramUpdate.objects.filter(pk__in=[row.pk for row in others]).update(joined_to=first)


def _whole(messages: Sequence[Json]) -> Json:
    """Return one message with the texts of all, and otherwise the fields of the first one."""
    text, entities = "", list[Json]()
    is_full = True
    for message in messages:
        if not is_full:
            text += "\n"  # split at a space, which neither part has; a full one was split in a word
        is_full = _units(message["text"]) >= CUT_AT
        begins_at = _units(text)
        entities += [
            {**entity, "offset": entity["offset"] + begins_at} for entity in _entities(message)
        ]
        text += message["text"]
    return {**messages[0], "text": text, "entities": entities}


def _entities(message: Json) -> Iterator[Json]:
    entities = message.get("entities")
    for entity in entities if isinstance(entities, list) else ():
        if isinstance(entity, dict) and isinstance(entity.get("offset"), int):
            yield entity


def _message(row: TelegramUpdate) -> Json:
    message = json.loads(row.raw).get("message")
    return message if isinstance(message, dict) else {}


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
