"""Telegram's rules for texts: lengths in UTF-16 units, trimming, and valid entities.

Entities are the Bot API's dictionaries. Offsets and lengths are UTF-16 units everywhere.
"""

from __future__ import annotations

import re
from typing import Any

from observatory.sandbox.web import Json, Refused

MAX_ENTITIES = 100
BOT_COMMAND = re.compile(r"(?<![\w/])/[A-Za-z0-9_]{1,64}(?:@\w{3,32})?(?![\w/])")
ENTITY_TYPES = frozenset(
    [
        "mention",
        "hashtag",
        "cashtag",
        "bot_command",
        "url",
        "email",
        "phone_number",
        "bold",
        "italic",
        "underline",
        "strikethrough",
        "spoiler",
        "blockquote",
        "expandable_blockquote",
        "code",
        "pre",
        "text_link",
        "text_mention",
        "custom_emoji",
    ]
)


def utf16_length(text: str) -> int:
    """Return the length of `text` in UTF-16 units, as Telegram counts it."""
    return len(text) + sum(ord(character) > 0xFFFF for character in text)


def bot_commands(text: str) -> list[Json]:
    """Return the entities of the /commands in a text; bots recognize commands only by these."""
    return [
        {
            "type": "bot_command",
            "offset": utf16_length(text[: match.start()]),
            "length": utf16_length(match[0]),
        }
        for match in BOT_COMMAND.finditer(text)
    ]


def checked(text: str, entities: Any) -> tuple[str, list[Json]]:
    """Return text and entities as Telegram stores them: trimmed, sorted, at most 100 entities.

    Raises:
        Refused: an entity is malformed, out of bounds, splits a character or crosses another.
    """
    if not isinstance(entities, list):
        raise Refused(400, "Bad Request: can't parse entities: expected an Array of MessageEntity")
    boundaries = _boundaries(text)
    valid = [_checked_entity(entity, boundaries) for entity in entities[:MAX_ENTITIES]]
    valid.sort(key=lambda entity: (entity["offset"], -entity["length"]))
    _check_nesting(valid)
    return _trimmed(text, valid)


def _boundaries(text: str) -> set[int]:
    """Return the UTF-16 offsets that lie between two characters."""
    offsets = {0}
    position = 0
    for character in text:
        position += 2 if ord(character) > 0xFFFF else 1
        offsets.add(position)
    return offsets


def _checked_entity(entity: Any, boundaries: set[int]) -> Json:
    if not isinstance(entity, dict) or entity.get("type") not in ENTITY_TYPES:
        raise Refused(400, "Bad Request: can't parse MessageEntity: unsupported type specified")
    if entity["type"] == "text_link" and not isinstance(entity.get("url"), str):
        raise Refused(400, 'Bad Request: can\'t parse MessageEntity: field "url" must be a String')
    start, length = entity.get("offset"), entity.get("length")
    if not isinstance(start, int) or not isinstance(length, int) or start < 0 or length <= 0:
        raise Refused(400, "Bad Request: can't parse MessageEntity: invalid offset or length")
    _check_span(start, start + length, boundaries)
    return entity


def _check_span(start: int, end: int, boundaries: set[int]) -> None:
    reason = ""
    if start > max(boundaries):
        reason = f"entity begins after the end of the text at UTF-16 offset {start}"
    elif end > max(boundaries):
        reason = (
            f"entity beginning at UTF-16 offset {start} ends after the end of the text"
            f" at UTF-16 offset {end}"
        )
    elif start not in boundaries:
        reason = f"entity begins in a middle of a UTF-16 symbol at UTF-16 offset {start}"
    elif end not in boundaries:
        reason = f"entity ends in a middle of a UTF-16 symbol at UTF-16 offset {end}"
    if reason:
        raise Refused(400, f"Bad Request: {reason}")


def _check_nesting(entities: list[Json]) -> None:
    """Raise for crossing entities: one must contain the other, or end before it begins.

    Telegram splits crossing entities silently; a stand-in is more useful if it reports them.
    """
    ends: list[int] = []
    for entity in entities:
        while ends and ends[-1] <= entity["offset"]:
            ends.pop()
        end = entity["offset"] + entity["length"]
        if ends and end > ends[-1]:
            raise Refused(
                400,
                "Bad Request: can't parse entities: entity beginning at UTF-16 offset"
                f" {entity['offset']} crosses the end of another one",
            )
        ends.append(end)


def _trimmed(text: str, entities: list[Json]) -> tuple[str, list[Json]]:
    left = utf16_length(text) - utf16_length(text.lstrip())
    stripped = text.strip()
    end = utf16_length(stripped)
    moved = []
    for entity in entities:
        start = max(entity["offset"] - left, 0)
        stop = min(entity["offset"] + entity["length"] - left, end)
        if stop > start:
            moved.append(entity | {"offset": start, "length": stop - start})
    return stripped, moved
