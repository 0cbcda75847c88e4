"""The lines that need no run."""

from __future__ import annotations

from pipeline.bot import texts
from pipeline.bot.turn import Turn
from pipeline.models import Member


async def show_start(turn: Turn, member: Member) -> str:
    """Say in three lines what this is."""
    return texts.WELCOME.format(name=member.name.split(" ")[0] or "there")


async def show_help(turn: Turn, member: Member) -> str:
    """Say what can be sent."""
    return texts.HELP


async def show_unknown(turn: Turn, member: Member) -> str:
    """Answer a command that there is not."""
    return texts.UNKNOWN_COMMAND


async def show_not_understood(turn: Turn, member: Member) -> str:
    """Answer what is neither text nor picture."""
    return texts.NOT_UNDERSTOOD
