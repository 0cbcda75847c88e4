"""From an agent's Markdown to messages that Telegram takes: text with entities, in pieces.

Entities instead of a parse mode, because a model's text then can never be refused as broken
markup. What a model writes is data: its links are shown in full or not at all, and nobody is
mentioned by it.
"""

from __future__ import annotations

import re

from telegram import MessageEntity
from telegramify_markdown import convert, split_entities
from telegramify_markdown.config import RenderConfig

MAX_UTF16 = 4000  # Telegram takes 4096 UTF-16 units; some clients count differently
_KEPT = {"bold", "italic", "underline", "strikethrough", "code", "pre", "blockquote"}
_LINK = re.compile(r"\[([^\]\n]*)\]\((https?://[^)\s]+)\)")

Chunk = tuple[str, list[MessageEntity]]


def formatted(markdown: str) -> list[Chunk]:
    """Return the text as messages of at most 4,000 UTF-16 units, each with its entities."""
    shown = _LINK.sub(r"\1 (\2)", markdown)
    text, entities = convert(shown, latex_escape=False, config=_CONFIG)
    kept = [entity for entity in entities if entity.type in _KEPT]
    return [
        (
            part,
            [
                MessageEntity(
                    type=entity.type,
                    offset=entity.offset,
                    length=entity.length,
                    language=entity.language,
                )
                for entity in part_entities
            ],
        )
        for part, part_entities in split_entities(text, kept, MAX_UTF16)
    ]


def _plain_style() -> RenderConfig:
    """Bold is enough to tell a heading, and some fonts lack the library's bullet."""
    config = RenderConfig.isolated()
    config.markdown_symbol.unordered_list_item = "•"
    for level in range(1, 5):
        setattr(config.markdown_symbol, f"heading_level_{level}", "")
    return config


_CONFIG = _plain_style()
