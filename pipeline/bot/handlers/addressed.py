"""Decides which messages address the bot: all in a private chat, and in a group some.

In a group, a message addresses the bot by a mention, by a command with the bot's name (in a text or
in the caption of a picture or file), or by replying to the bot. All addressed messages are
answered, except the service messages that Telegram itself writes (a person joined, a pinned
message, a payment).
"""

from __future__ import annotations

import json

from telegram import Bot, Message, MessageEntity
from telegram.ext import filters

from pipeline.bot.parsing import CUT_OUT, NotForUs, Unreadable, parse
from pipeline.models import TelegramUpdate

CONTENT_KINDS = (
    *("animation", "audio", "checklist", "contact", "dice", "document", "game", "live_photo"),
    *("location", "paid_media", "photo", "poll", "sticker", "story", "venue", "video"),
    *("video_note", "voice"),
)
COMMANDS = [
    ("support", "Analysis, strategy, next steps and a draft"),
    ("learn", "Lessons, level by level, or ask the trainer"),
    ("train", "Practice on a scenario"),
    ("stats", "Your level, streak and weak spots"),
    ("model", "Which models would answer now, and who pays"),
    ("why", "Which models answered, and why"),
    ("memory", "What I remember about you"),
    ("settings", "Your API key and model"),
    ("forget", "Erase your key, memory and texts"),
    ("cancel", "Stop what I'm working on"),
    ("start", "What I do"),
    ("help", "What you can send me"),
]
COMMAND_NAMES = frozenset(name for name, _ in COMMANDS)


class _Addressed(filters.MessageFilter):
    """Filter for messages that mention the bot, name it in a command, or reply to it."""

    def filter(self, message: Message) -> bool:
        original = message.reply_to_message
        author = original.from_user if original is not None else None
        if author is not None and author.id == message.get_bot().id:
            return True
        return any(
            is_of_bot(message, entity) or is_command_to_bot(message, entity)
            for entity in _entities(message)
        )


class _Content(filters.MessageFilter):
    """Filter for messages with a caption or content other than text: a picture, file, voice etc."""

    def filter(self, message: Message) -> bool:
        cut_out = message.api_kwargs.get(CUT_OUT, ())
        return bool(message.caption) or any(
            getattr(message, kind, None) or kind in cut_out for kind in CONTENT_KINDS
        )


def is_addressed(row: TelegramUpdate, bot: Bot) -> bool:
    """Tell whether a stored update addresses the bot, even if its message_id is unusable."""
    if row.chat_id == row.user_id:
        return True
    raw = json.loads(row.raw)
    message = raw.get("message")
    if isinstance(message, dict):
        # Replaces an id that may be broken; an update with any other fault counts as not addressed.
        raw["message"] = message | {"message_id": 0}
    try:
        update = parse(raw, bot)
    except (NotForUs, Unreadable):
        return False
    message = update.message
    return (
        update.callback_query is not None
        or bool(ADDRESSED.check_update(update))
        or (message is not None and _is_bare_command(message))
    )


def _is_bare_command(message: Message) -> bool:
    """Tell whether a message begins with a known command that is not followed by a bot name."""
    first = next(iter(message.entities), None)
    if first is None or first.type != MessageEntity.BOT_COMMAND or first.offset:
        return False
    return _said(message, first)[1:].lower() in COMMAND_NAMES


def without_mention(message: Message, text: str) -> str:
    """Return `text`, the message's text or caption, without mentions of the bot."""
    for entity in reversed(_entities(message)):
        if is_of_bot(message, entity):
            start = _index(text, entity.offset)
            text = text[:start] + text[_index(text, entity.offset + entity.length) :]
    return text


def is_of_bot(message: Message, entity: MessageEntity) -> bool:
    """Tell whether an entity is a mention of the bot."""
    if entity.type != MessageEntity.MENTION:
        return False
    return _said(message, entity).lower() == f"@{message.get_bot().username}".lower()


def is_command_to_bot(message: Message, entity: MessageEntity) -> bool:
    """Tell whether an entity is a command with the bot's name, or a known one in a caption."""
    if entity.type != MessageEntity.BOT_COMMAND:
        return False
    command, _, name = _said(message, entity)[1:].partition("@")
    if name:
        return name.lower() == message.get_bot().username.lower()
    return message.text is None and command.lower() in COMMAND_NAMES


def _said(message: Message, entity: MessageEntity) -> str:
    text = message.text or message.caption or ""
    return text[_index(text, entity.offset) : _index(text, entity.offset + entity.length)]


def _entities(message: Message) -> list[MessageEntity]:
    return list(message.entities or message.caption_entities)


def _index(text: str, utf16_units: int) -> int:
    """Convert an offset in UTF-16 units, which Telegram uses, to an index into the string."""
    encoded = text.encode("utf-16-le", "surrogatepass")[: 2 * utf16_units]
    return len(encoded.decode("utf-16-le", "ignore"))


CONTENT = _Content()
ADDRESSED = filters.ChatType.PRIVATE | (filters.ChatType.GROUPS & _Addressed())
