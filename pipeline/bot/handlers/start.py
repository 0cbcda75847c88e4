"""The lines that need no run."""

from __future__ import annotations

from pipeline.bot import texts
from pipeline.bot.handlers.keys import payer_of, payers
from pipeline.bot.lines import Line
from pipeline.bot.turn import Turn
from pipeline.models import Member


async def show_start(turn: Turn, member: Member) -> Line:
    """Say in three lines what this is, and offer whose key is to pay."""
    name = member.name.split(" ")[0] or "there"
    return Line(texts.WELCOME.format(name=name, payer=payer_of(member)), payers(member))


async def show_help(turn: Turn, member: Member) -> Line:
    """Say what can be sent."""
    return Line(texts.HELP)


async def show_unknown(turn: Turn, member: Member) -> Line:
    """Answer a command that there is not."""
    return Line(texts.UNKNOWN_COMMAND)
