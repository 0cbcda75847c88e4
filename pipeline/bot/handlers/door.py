"""Before a message is handled: who is it from, and may it be read."""

from __future__ import annotations

import logging

from telegram import Message, User
from telegram.constants import ChatType
from telegram.error import TelegramError

from pipeline.bot import texts
from pipeline.bot.access import visitor
from pipeline.bot.turn import Turn
from pipeline.models import Member
from pipeline.records import Alert

logger = logging.getLogger(__name__)


async def admitted(turn: Turn, message: Message, user: User, alert: Alert) -> Member | None:
    """Return the member whose message may be handled; None when all has been said already.

    Strangers get one line, and a message that holds a key is not read.
    """
    who = await visitor(user)
    if who.is_new and who.refusal:
        alert(f"{who.member} (Telegram id {user.id}) asks to be let in.")
    if who.refusal:
        await turn.outbox.say(who.refusal)
        return None
    if turn.row.holds_key:
        await turn.outbox.say(texts.LOOKS_LIKE_A_KEY.format(deleted=await _put_away(message)))
        return None
    return who.member


async def _put_away(message: Message) -> str:
    """Delete a message that held a key and return how that went; what it said is not kept."""
    if message.chat.type != ChatType.PRIVATE:
        return texts.NOT_DELETED
    try:
        await message.delete()
    except TelegramError:
        logger.warning("chat=%s: a message with a key could not be deleted", message.chat_id)
        return texts.NOT_DELETED
    return texts.DELETED
