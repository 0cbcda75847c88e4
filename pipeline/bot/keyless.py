"""Removes API keys from updates before they are stored.

A message that contains a key is not processed further, so none of its text is kept: a part of the
key could be in it unnoticed. Only its sender, its chat and whether it addressed the bot are kept.
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
    """Return the update unchanged, or, if it holds a key, without the text that came with it."""
    if not _has_key(update):
        return update
    body = update.get("")
    if isinstance(body, str):  # an unreadable request's body: the rest may show what went wrong
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
    """Return a value in which each text that holds a key is masked and its entities are removed."""
    if isinstance(value, str):
        return value if _is_opaque(name) else _blotted_text(value)
    if isinstance(value, list):
        return [_blotted(part, name) for part in value]
    if not isinstance(value, dict):
        return value
    cleaned = {_blotted_text(key): _blotted(part, key) for key, part in value.items()}
    if any(cleaned.get(key) != part for key, part in value.items() if isinstance(part, str)):
        # Entities refer to positions in a text that is gone.
        cleaned = {key: part for key, part in cleaned.items() if not key.endswith("entities")}
    return cleaned


def _blotted_text(text: str) -> str:
    return HIDDEN if holds_key(text) else text


def _is_opaque(name: str) -> bool:
    """Tell whether a field is an id made by Telegram, whose random letters may look like a key."""
    return name == "id" or name.endswith("_id")


def _husk(message: Json) -> Json:
    """Return what is stored of a message that held a key: ids, chat, sender and a masked text.

    The text keeps only the original's command and mentions (see `_addresses`), before the mask.
    """
    husk = {name: _blotted(message[name], name) for name in _KEPT if name in message}
    original = message.get("reply_to_message")
    if isinstance(original, dict):
        kept = {name: original[name] for name in _KEPT_OF_ORIGINAL if name in original}
        husk["reply_to_message"] = _blotted(kept)
    if "pinned_message" in message:
        return husk  # a service message, which is not to be answered: give it no text
    text, entities = "", []
    for kind, word in _addresses(message):
        entities.append({"type": kind, "offset": len(text), "length": len(word)})
        text += f"{word} "
    return husk | {"text": text + HIDDEN, "entities": entities}


def _addresses(message: Json) -> Iterator[tuple[str, str]]:
    """Yield (entity type, word) for the leading command and the mentions in a message.

    In a group, the bot recognizes by these alone that a message is meant for it.
    """
    for name, of in (("text", "entities"), ("caption", "caption_entities")):
        text, entities = message.get(name), message.get(of)
        if not isinstance(text, str) or not isinstance(entities, list):
            continue
        units = text.encode("utf-16-le", "surrogatepass")  # the unit of Telegram's offsets
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
