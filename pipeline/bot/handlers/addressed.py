"""Which messages are meant for the bot: all in a private chat, in a group those that say so."""

from __future__ import annotations

from telegram import Message, MessageEntity
from telegram.ext import filters


class _Addressed(filters.MessageFilter):
    """Matches a message that mentions the bot or replies to it."""

    def filter(self, message: Message) -> bool:
        original = message.reply_to_message
        author = original.from_user if original is not None else None
        if author is not None and author.id == message.get_bot().id:
            return True
        return any(is_of_bot(message, entity) for entity in _entities(message))


def without_mention(message: Message, text: str) -> str:
    """Return a message's text without the bot's name, which is no part of a question."""
    for entity in reversed(_entities(message)):
        if is_of_bot(message, entity):
            start = _index(text, entity.offset)
            text = text[:start] + text[_index(text, entity.offset + entity.length) :]
    return text


def is_of_bot(message: Message, entity: MessageEntity) -> bool:
    """Tell whether an entity is a mention of the bot."""
    if entity.type != MessageEntity.MENTION:
        return False
    text = message.text or message.caption or ""
    said = text[_index(text, entity.offset) : _index(text, entity.offset + entity.length)]
    return said.lower() == f"@{message.get_bot().username}".lower()


def _entities(message: Message) -> list[MessageEntity]:
    return list(message.entities or message.caption_entities)


def _index(text: str, utf16_units: int) -> int:
    """Return where so many UTF-16 units of a text end: Telegram counts in them."""
    encoded = text.encode("utf-16-le", "surrogatepass")[: 2 * utf16_units]
    return len(encoded.decode("utf-16-le", "ignore"))


ADDRESSED = filters.ChatType.PRIVATE | (filters.ChatType.GROUPS & _Addressed())
