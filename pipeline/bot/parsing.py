"""Parses a stored update into python-telegram-bot's `Update`, without its unreadable parts.

The library refuses a whole update because of one part that it cannot read, such as a poll of an
older server in the message that is replied to. Such a part is cut out, and the rest is answered.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from typing import Any, TypeGuard, TypeVar

from telegram import (
    Bot,
    Chat,
    MaybeInaccessibleMessage,
    Message,
    TelegramObject,
    Update,
    User,
)
from telegram.constants import ChatType

from pipeline.bot.intake import ALLOWED_UPDATES
from pipeline.bot.static_reply import ReplyTarget
from pipeline.models import TelegramUpdate

logger = logging.getLogger(__name__)

CUT_OUT = "parts_cut_out"  # key in `Message.api_kwargs`: names of parts the library could not read

Json = dict[str, Any]
ObjectT = TypeVar("ObjectT", bound=TelegramObject)
# Expected types of the fields that handlers rely on; a value of another type counts as absent.
_TYPES: Mapping[str, type] = {
    "text": str,
    "caption": str,
    "media_group_id": str,
    "message_thread_id": int,
    "is_topic_message": bool,
    "is_automatic_forward": bool,
    "date": int,
}
_REQUIRED = ("message_id", "date", "chat", "from")
MAX_DATE = 2**33  # seconds since 1970, in the year 2242
_UNKNOWN_AUTHOR = {"type": "hidden_user", "date": 0, "sender_user_name": ""}


class NotForUs(Exception):
    """An update of a kind that is not handled, or without a chat or person to answer."""


class Unreadable(Exception):
    """An update with an unusable id, or that the library cannot read; the message says which."""


def parse(update: Json, bot: Bot) -> Update:
    """Return a stored update as the library's `Update`, without the parts that cannot be read.

    Raises:
        NotForUs: the update has nothing to answer.
        Unreadable: an id of a chat, person, message or press is of a wrong type, or the library
            cannot read any part of the update.
    """
    kind = next((kind for kind in ALLOWED_UPDATES if kind in update), None)
    if kind is None:
        raise NotForUs
    wanted = {"update_id": update["update_id"], kind: update[kind]}
    parsed = _parsed(Update, wanted, bot)
    try:
        if parsed is not None and _is_sound(parsed):
            return parsed
    except (AttributeError, TypeError):
        logger.debug("update=%s lacks what each has", update["update_id"])
    logger.info("update=%s is read in parts", update["update_id"])
    mend = _message if kind == "message" else _query
    mended = _parsed(Update, wanted | {kind: mend(update[kind], bot)}, bot)
    if mended is None:
        raise Unreadable("the library reads no part of it")
    return mended


def _parsed(kind: type[ObjectT], content: Json, bot: Bot | None) -> ObjectT | None:
    """Return the library's object; None if the library raises any error on the content."""
    try:
        return kind.de_json(content, bot)
    except Exception:  # noqa: BLE001 - raised by the library on untrusted content
        return None


def reply_target_of(row: TelegramUpdate) -> ReplyTarget:
    """Return where the reply to an update goes; works for an update that cannot be parsed, too."""
    update = json.loads(row.raw)
    query = update.get("callback_query")
    message = query.get("message") if _is_object(query) else update.get("message")
    if not _is_object(message):
        return ReplyTarget()
    topic = message.get("message_thread_id") if message.get("is_topic_message") is True else None
    # The message of a press is the bot's own, so the reply to a press does not quote it.
    replies = query is None and row.chat_id is not None and row.chat_id < 0
    number = message.get("message_id") if replies else None
    return ReplyTarget(
        topic=topic if _is_id(topic) else None, message_id=number if _is_id(number) else None
    )


def query_id_of(row: TelegramUpdate) -> str:
    """Return the id with which a button press is answered; "" if the update is not a press."""
    query = json.loads(row.raw).get("callback_query")
    query_id = query.get("id") if _is_object(query) else None
    return query_id if isinstance(query_id, str) else ""


def _is_sound(update: Update) -> bool:
    # A press may be on a message that Telegram no longer provides, which is not a `Message`.
    message: MaybeInaccessibleMessage | None = update.effective_message
    user, query = update.effective_user, update.callback_query
    if query is not None:
        message = query.message
    if query is not None and not (_is_id(query.from_user.id) and isinstance(query.id, str)):
        return False
    if user is not None and not (_is_id(user.id) and isinstance(user.first_name, str)):
        return False
    if not isinstance(message, Message):
        return message is None or _is_id(message.chat.id)
    ids = _is_id(message.chat.id) and _is_id(message.message_id)
    return (
        ids
        and _has_sound_entities(message)
        and all(
            value is None or type(value) is kind
            for name, kind in _TYPES.items()
            if name != "date"
            for value in [getattr(message, name)]
        )
    )


def _query(query: Any, bot: Bot) -> Json:
    if not _is_object(query) or "id" not in query or "from" not in query:
        raise NotForUs
    if not isinstance(query["id"], str):
        raise Unreadable("the id of a press is no text")
    mended = {"id": query["id"], "from": _user(query["from"]), "chat_instance": ""}
    if isinstance(query.get("data"), str):
        mended["data"] = query["data"]
    if "message" in query:
        try:
            mended["message"] = _message(query["message"], bot)
        except (NotForUs, Unreadable):
            logger.info("a press on a message that cannot be read")
    return mended


def _message(message: Any, bot: Bot, chat: Json | None = None) -> Json:
    """Return the readable parts of a message; `chat` is given for a message that is replied to."""
    if not _is_object(message):
        raise NotForUs
    date = message.get("date")
    base: Json = {
        "message_id": _id(message.get("message_id", 0), "message"),
        "date": date if type(date) is int and 0 <= date < MAX_DATE else 0,
        "chat": chat or _chat(message.get("chat")),
    }
    if "from" in message:
        with suppress(NotForUs, Unreadable) if chat else nullcontext():
            base["from"] = _user(message["from"])
    cut_out = []
    for name, part in message.items():
        if part is None or name in _REQUIRED or (name in _TYPES and type(part) is not _TYPES[name]):
            continue
        readable = _readable(name, part, base, bot)
        if readable is None:
            cut_out.append(name)
        else:
            base[name] = readable
    return base | ({CUT_OUT: cut_out} if cut_out else {})


def _readable(name: str, part: Any, base: Json, bot: Bot) -> Any:
    """Return a part of a message as far as the library can read it; None if it cannot at all."""
    if _can_be_read(name, part, base, bot):
        return part
    if name == "forward_origin":
        return _UNKNOWN_AUTHOR  # the author may be lost, but not the fact that it was forwarded
    if name == "reply_to_message":
        try:
            return _message(part, bot, base["chat"])
        except (NotForUs, Unreadable):
            return None
    if isinstance(part, list):
        return [one for one in part if _can_be_read(name, [one], base, bot)] or None
    return None


def _can_be_read(name: str, part: Any, base: Json, bot: Bot) -> bool:
    required = {key: base[key] for key in _REQUIRED if key in base}
    message = _parsed(Message, required | {name: part}, bot)
    if message is None:
        return False
    replied_to = message.reply_to_message
    return _has_sound_entities(message) and (replied_to is None or _is_id(replied_to.message_id))


def _has_sound_entities(message: Message) -> bool:
    return all(
        _is_id(entity.offset) and _is_id(entity.length)
        for entity in (*message.entities, *message.caption_entities)
    )


def _chat(chat: Any) -> Json:
    if chat is None or (_is_object(chat) and "id" not in chat):
        raise NotForUs
    number = _id(chat["id"] if _is_object(chat) else None, "chat")
    usual = ChatType.PRIVATE if number > 0 else ChatType.SUPERGROUP
    whole: Json = {"title": "", "first_name": "", "type": usual} | chat
    if _parsed(Chat, whole, None) is None or not isinstance(whole["type"], str):
        return {"id": number, "type": usual}
    return whole


def _user(user: Any) -> Json:
    if user is None or (_is_object(user) and "id" not in user):
        raise NotForUs
    number = _id(user["id"] if _is_object(user) else None, "person")
    texts = {
        name: user[name]
        for name in ("first_name", "last_name", "username", "language_code")
        if isinstance(user.get(name), str)
    }
    mended = {"id": number, "is_bot": user.get("is_bot") is True, "first_name": ""} | texts
    User.de_json(mended, None)
    return mended


def _id(value: Any, of: str) -> int:
    if not _is_id(value):
        raise Unreadable(f"the id of the {of} is no number of 64 bits")
    return int(value)


def _is_id(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63


def _is_object(value: Any) -> TypeGuard[Json]:
    return isinstance(value, dict)
