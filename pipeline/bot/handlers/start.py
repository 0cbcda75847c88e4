"""Static replies: /start, /help and unknown commands."""

from __future__ import annotations

from pipeline.bot import texts
from pipeline.bot.handlers.keys import payer_of, payers
from pipeline.bot.static_reply import StaticReply
from pipeline.bot.update_context import UpdateContext
from pipeline.models import Member


async def show_start(context: UpdateContext, member: Member) -> StaticReply:
    """Return the welcome text with the current payer, and buttons to choose one."""
    name = member.name.split(" ")[0] or "there"
    return StaticReply(texts.WELCOME.format(name=name, payer=payer_of(member)), payers(member))


async def show_help(context: UpdateContext, member: Member) -> StaticReply:
    """Return the help text."""
    return StaticReply(texts.HELP)


async def show_unknown(context: UpdateContext, member: Member) -> StaticReply:
    """Return the reply to an unknown command."""
    return StaticReply(texts.UNKNOWN_COMMAND)
