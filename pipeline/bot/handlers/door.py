"""Before a message is handled: who is it from, may it be read, and who hears if that fails."""

from __future__ import annotations

import logging
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.db import close_old_connections, reset_queries
from telegram import Message, User
from telegram.constants import ChatType
from telegram.error import TelegramError

from agents.llm.keys import scrub
from pipeline.bot import texts
from pipeline.bot.access import visitor
from pipeline.models import Member
from pipeline.records import Alert

logger = logging.getLogger(__name__)


async def admitted(message: Message, user: User, alert: Alert) -> Member | None:
    """Return the member whose message may be handled; None when all has been said already.

    Strangers get one line, and a message that holds a key is not read.
    """
    await sync_to_async(_begin)()
    who = await visitor(user)
    if who.is_new and who.refusal:
        alert(f"{who.member} (Telegram id {user.id}) asks to be let in.")
    if who.refusal:
        await message.reply_text(who.refusal)
        return None
    if _holds_key(message):
        await _put_away(message)
        return None
    return who.member


def incident(error: Exception, chat_id: int) -> str:
    """Log what nobody expected and return the number under which it is found."""
    number = uuid4().hex[:8]
    if isinstance(error, TelegramError):  # the world outside: a stack would tell nothing
        logger.error("incident=%s chat=%s: %s", number, chat_id, scrub(repr(error)))
    else:
        logger.error("incident=%s chat=%s: no answer", number, chat_id, exc_info=error)
    return number


async def say_broken(message: Message, error: Exception) -> None:
    """Tell the sender that it is our fault; if even that fails, the log knows."""
    line = texts.BROKEN.format(incident=incident(error, message.chat_id))
    try:
        await message.reply_text(line)
    except TelegramError as unreachable:
        logger.warning("chat=%s: no line could be shown: %s", message.chat_id, unreachable)


def _begin() -> None:
    """Do what a web request's beginning does: in a bot nothing begins, so nobody else does it."""
    close_old_connections()
    reset_queries()


def _holds_key(message: Message) -> bool:
    """Tell whether a message looks like an API key; forwarded texts count, too."""
    text = f"{message.text or ''} {message.caption or ''}"
    return scrub(text) != text


async def _put_away(message: Message) -> None:
    """Delete a message that holds a key and say so; what it said goes nowhere."""
    done = texts.NOT_DELETED
    if message.chat.type == ChatType.PRIVATE:
        try:
            await message.delete()
            done = texts.DELETED
        except TelegramError:
            logger.warning("chat=%s: a message with a key could not be deleted", message.chat_id)
    await message.chat.send_message(texts.LOOKS_LIKE_A_KEY.format(deleted=done))
