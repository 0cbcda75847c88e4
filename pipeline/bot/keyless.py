"""Updates without the keys that came in them: what is stored of a message in which there was one.

Such a message is read no further, so nothing of what was written is kept either: a part of the key
could be in it unnoticed. What stays is who sent it where, and whether it spoke to the bot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from agents.llm.secrets import HIDDEN, holds_key, scrub

Json = dict[str, Any]

_MESSAGES = frozenset(
    {
        *("message", "edited_message", "channel_post", "edited_channel_post"),
        *("business_message", "edited_business_message", "guest_message"),
    }
)
_KEPT = (
    *("message_id", "message_thread_id", "is_topic_message", "date", "edit_date"),
    *("chat", "from", "sender_chat", "media_group_id"),
)
_KEPT_OF_ORIGINAL = ("message_id", "date", "chat", "from")
_SPEAKS_TO_BOT = re.compile(r"/[A-Za-z0-9_]{1,32}(?:@[A-Za-z0-9_]{1,32})?|@[A-Za-z0-9_]{1,32}")


def keyless(update: Json) -> Json:
    """Return the update as it is, or without any text that a key was in or came with."""
    if not _has_key(update):
        return update
    body = update.get("")
    if isinstance(body, str):  # of a request that could not be read: the rest may tell why
        return update | {"": scrub(body, alone=True)}
    return {
        _blotted_text(kind): _husk(content)
        if kind in _MESSAGES and isinstance(content, dict)
        else _blotted(content, kind)
        for kind, content in update.items()
    }


def _has_key(value: Any, name: str = "") -> bool:
    if isinstance(value, str):
        return not _is_opaque(name) and holds_key(value)
    if isinstance(value, dict):
        return any(holds_key(key) or _has_key(part, key) for key, part in value.items())
    return isinstance(value, list) and any(_has_key(part, name) for part in value)


def _blotted(value: Any, name: str = "") -> Any:
    """Return a value with texts that hold a key blotted out, and their entities removed."""
    if isinstance(value, str):
        return value if _is_opaque(name) else _blotted_text(value)
    if isinstance(value, list):
        return [_blotted(part, name) for part in value]
    if not isinstance(value, dict):
        return value
    cleaned = {_blotted_text(key): _blotted(part, key) for key, part in value.items()}
    if any(cleaned.get(key) != part for key, part in value.items() if isinstance(part, str)):
        # They are about letters that are there no more.
        cleaned = {key: part for key, part in cleaned.items() if not key.endswith("entities")}
    return cleaned


def _blotted_text(text: str) -> str:
    return HIDDEN if holds_key(text) else text


def _is_opaque(name: str) -> bool:
    """Tell whether Telegram itself has made this up: such random letters may look like a key."""
    return name == "id" or name.endswith("_id")


def _husk(message: Json) -> Json:
    """Return what is kept of a message with a key: as a text that says no more than that."""
    husk = {name: _blotted(message[name], name) for name in _KEPT if name in message}
    original = message.get("reply_to_message")
    if isinstance(original, dict):
        kept = {name: original[name] for name in _KEPT_OF_ORIGINAL if name in original}
        husk["reply_to_message"] = _blotted(kept)
    if "pinned_message" in message:
        return husk  # without a sender there is no one to answer
    text, entities = "", []
    for kind, word in _addresses(message):
        entities.append({"type": kind, "offset": len(text), "length": len(word)})
        text += f"{word} "
    return husk | {"text": text + HIDDEN, "entities": entities}


def _addresses(message: Json) -> Iterator[tuple[str, str]]:
    """Yield the command and the mentions in a message: a group's bot answers to nothing else."""
    for name, of in (("text", "entities"), ("caption", "caption_entities")):
        text, entities = message.get(name), message.get(of)
        if not isinstance(text, str) or not isinstance(entities, list):
            continue
        units = text.encode("utf-16-le", "surrogatepass")  # Telegram counts in them
        for entity in entities:
            kind = entity.get("type") if isinstance(entity, dict) else None
            place = _place(entity) if kind in ("bot_command", "mention") else None
            if place is None or (kind == "bot_command" and place[0] != 0):
                continue
            word = units[2 * place[0] : 2 * place[1]].decode("utf-16-le", "replace")
            if _SPEAKS_TO_BOT.fullmatch(word) and not holds_key(word):
                yield str(kind), word


def _place(entity: Json) -> tuple[int, int] | None:
    offset, length = entity.get("offset"), entity.get("length")
    if type(offset) is not int or type(length) is not int or not 0 <= offset < offset + length:
        return None
    return offset, min(offset + length, offset + 100)
