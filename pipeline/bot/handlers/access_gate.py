"""Before a message is handled: who is it from, and may it be read."""

from __future__ import annotations

from functools import partial

from telegram import Message, User

from pipeline.bot.access import Visitor, visitor
from pipeline.bot.handlers.keys import forget_pasted, take_key
from pipeline.bot.static_reply import StaticReply
from pipeline.bot.update_context import UpdateContext
from pipeline.journal.records import NotifyOperators
from pipeline.models import Member
from pipeline.models.inbox import ReplyKind


async def admitted(
    context: UpdateContext, message: Message, user: User, alert: NotifyOperators
) -> Member | None:
    """Return the member whose message may be handled; None when all has been said already.

    Strangers get one line, and a message that holds a key is not read.
    """
    who = await visitor(user, _invite_in(message))
    if who.refusal:
        notify_operators(who, alert)
        forget = partial(forget_pasted, context.row)
        await context.outbox.say(StaticReply(who.refusal, also=forget, kind=ReplyKind.REFUSAL))
        return None
    if context.row.holds_key:
        await take_key(context, message, who.member)
        return None
    return who.member


def notify_operators(who: Visitor, alert: NotifyOperators) -> None:
    """Alert the operators of a person who has not been here before and waits for them."""
    if who.is_new:
        alert(
            f"{who.member} (Telegram id {who.member.telegram_id}) is waiting for approval. "
            "Approve or block them under Members in the admin."
        )


def _invite_in(message: Message) -> str:
    """Return the secret that Telegram hands over with /start when a person opens an invite link."""
    command, _, secret = (message.text or "").partition(" ")
    return secret.strip() if command == "/start" else ""
