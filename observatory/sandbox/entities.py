"""Telegram's rules for texts: lengths in UTF-16 units, trimming, and valid entities.

Entities are the Bot API's dictionaries. Offsets and lengths are UTF-16 units everywhere.
"""

from __future__ import annotations

import re
from itertools import combinations
from typing import Annotated, Any

from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt, RootModel

from observatory.sandbox.web import Json, Refused, validated

MAX_TEXT = 4096
MAX_CAPTION = 1024
MAX_ENTITIES = 100
BOT_COMMAND = re.compile(r"(?<![\w/])/[A-Za-z0-9_]{1,64}(?:@\w{3,32})?(?![\w/])")
UTF16 = "utf-16-le"
TYPES = (
    "mention|hashtag|cashtag|bot_command|url|email|phone_number|bold|italic|underline|spoiler"
    "|strikethrough|blockquote|expandable_blockquote|code|pre|text_link|text_mention|custom_emoji"
)


class Entity(BaseModel):
    """A part of a text that is formatted, or is a link or the like."""

    type: Annotated[str, Field(pattern=f"^({TYPES})$")]
    offset: NonNegativeInt
    length: PositiveInt


class Entities(RootModel[list[Entity]]):
    """The entities of a text."""


def utf16_length(text: str) -> int:
    """Return the length of `text` in UTF-16 units, as Telegram counts it."""
    return len(text.encode(UTF16, "surrogatepass")) // 2


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


def checked(text: str, entities: list[Any]) -> tuple[str, list[Json]]:
    """Return text and entities as Telegram stores them: trimmed, sorted, at most 100 entities.

    Raises:
        Refused: an entity is malformed, out of bounds, splits a character or crosses another.
            Telegram splits crossing entities silently; a stand-in is more useful if it refuses.
    """
    refusal = "Bad Request: can't parse entities: "
    validated(Entities, entities, refusal=refusal)
    kept = sorted(entities[:MAX_ENTITIES], key=lambda one: (one["offset"], -one["length"]))
    units = text.encode(UTF16, "surrogatepass")
    for entity in kept:
        start, end = 2 * entity["offset"], 2 * _end(entity)
        if end > len(units):
            raise Refused(400, f"{refusal}{entity} ends after the end of the text")
        try:
            units[start:end].decode(UTF16)
        except UnicodeDecodeError as error:
            raise Refused(400, f"{refusal}{entity} splits a UTF-16 symbol") from error
    for outer, inner in combinations(kept, 2):
        if inner["offset"] < _end(outer) < _end(inner):
            raise Refused(400, f"{refusal}{inner} crosses the end of another one")
    return _trimmed(text, kept)


def _end(entity: Json) -> int:
    end: int = entity["offset"] + entity["length"]
    return end


def _trimmed(text: str, entities: list[Json]) -> tuple[str, list[Json]]:
    left = utf16_length(text) - utf16_length(text.lstrip())
    stripped = text.strip()
    length = utf16_length(stripped)
    moved = []
    for entity in entities:
        start, end = max(entity["offset"] - left, 0), min(_end(entity) - left, length)
        if end > start:
            moved.append(entity | {"offset": start, "length": end - start})
    return stripped, moved
