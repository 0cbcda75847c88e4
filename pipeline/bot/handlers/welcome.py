"""The messages that run no pipeline."""

from __future__ import annotations

from telegram import Message

from pipeline.bot import texts
from pipeline.models import Member


async def show_start(message: Message, member: Member) -> None:
    """Say in three lines what this is."""
    await message.reply_text(texts.WELCOME.format(name=member.name.split(" ")[0] or "there"))


async def show_help(message: Message, member: Member) -> None:
    """Say what can be sent."""
    await message.reply_text(texts.HELP)


async def show_unknown(message: Message, member: Member) -> None:
    """Answer a command that there is not."""
    await message.reply_text(texts.UNKNOWN_COMMAND)


async def show_not_understood(message: Message, member: Member) -> None:
    """Answer what is neither text nor picture."""
    await message.reply_text(texts.NOT_UNDERSTOOD)
