"""Access check before a message is handled: who sent it, and may it be read."""

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
    """Return the member whose message may be handled; None if it has been answered here.

    People without access get a refusal. A message that holds an API key is not handled as a
    question; a key pasted by a member is checked, and stored if it is valid.
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
    """Alert the operators if a new person is waiting for approval."""
    if who.is_new:
        alert(
            f"{who.member} (Telegram id {who.member.telegram_id}) is waiting for approval. "
            "Approve or block them under Members in the admin."
        )


def _invite_in(message: Message) -> str:
    """Return the secret that Telegram sends with /start when an invite link is opened, else ""."""
    command, _, secret = (message.text or "").partition(" ")
    return secret.strip() if command == "/start" else ""
