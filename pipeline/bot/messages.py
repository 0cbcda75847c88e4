"""Converts an agent's Markdown to Telegram messages: text with entities, split into chunks.

Entities are used instead of a parse mode, because Telegram then cannot refuse a model's text as
broken markup. A model's output is untrusted: http(s) links are shown with their full address, all
other links as plain words, and mention entities are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from telegram import MessageEntity
from telegramify_markdown import MessageEntity as Converted
from telegramify_markdown import convert, split_entities
from telegramify_markdown.config import RenderConfig

MAX_UTF16 = 4000  # Telegram accepts 4096 UTF-16 units; some clients count differently
_KEPT = {"bold", "italic", "underline", "strikethrough", "code", "pre", "blockquote"}
_SHOWN_SCHEMES = ("https://", "http://")

Chunk = tuple[str, list[MessageEntity]]


def formatted(markdown: str) -> list[Chunk]:
    """Return Markdown as message chunks of at most 4,000 UTF-16 units, each with its entities."""
    text, entities = _with_addresses(*convert(markdown, latex_escape=False, config=_CONFIG))
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


def _with_addresses(text: str, entities: Sequence[Converted]) -> tuple[str, Sequence[Converted]]:
    """Append each http(s) link's address to its words; return the text and the shifted entities.

    Offsets and lengths count UTF-16 units, as Telegram's do.
    """
    links = [entity for entity in entities if (entity.url or "").startswith(_SHOWN_SCHEMES)]
    for link in sorted(links, key=lambda link: link.offset, reverse=True):
        units = text.encode("utf-16-le")
        end = link.offset + link.length
        if units[2 * link.offset : 2 * end].decode("utf-16-le") == link.url:
            continue
        address = f" ({link.url})".encode("utf-16-le")
        text = (units[: 2 * end] + address + units[2 * end :]).decode("utf-16-le")
        entities = [_moved(entity, end, len(address) // 2) for entity in entities]
    return text, entities


def _moved(entity: Converted, inserted_at: int, units: int) -> Converted:
    if entity.offset >= inserted_at:
        return replace(entity, offset=entity.offset + units)
    if entity.offset + entity.length > inserted_at:
        return replace(entity, length=entity.length + units)
    return entity


def _plain_style() -> RenderConfig:
    """Return a config without heading symbols (headings are bold), with a bullet all fonts have.

    Some fonts lack the library's own bullet.
    """
    config = RenderConfig.isolated()
    config.markdown_symbol.unordered_list_item = "•"
    for level in range(1, 5):
        setattr(config.markdown_symbol, f"heading_level_{level}", "")
    return config


_CONFIG = _plain_style()
