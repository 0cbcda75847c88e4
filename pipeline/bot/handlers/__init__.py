"""What the bot does with each kind of update."""

from __future__ import annotations

from typing import Any

from telegram.ext import Application, CommandHandler, MessageHandler, filters

from pipeline.bot.handlers.asks import Asks
from pipeline.bot.handlers.support import Support
from pipeline.bot.handlers.welcome import show_help, show_not_understood, show_start, show_unknown

COMMANDS = [
    ("support", "Analysis, strategy, steps and a draft"),
    ("start", "What I do"),
    ("help", "What you can send"),
]


def add_handlers(application: Application[Any, Any, Any, Any, Any, Any], support: Support) -> None:
    """Register every handler; the first that matches an update takes it."""
    asks = Asks()
    private = filters.ChatType.PRIVATE & filters.UpdateType.MESSAGE
    picture = filters.PHOTO | filters.Document.IMAGE
    application.add_handlers(
        [
            CommandHandler("start", support.at_once(show_start)),
            CommandHandler("help", support.at_once(show_help)),
            CommandHandler("support", support.in_turn(asks.in_text)),
            MessageHandler(private & picture, support.in_turn(asks.in_picture)),
            MessageHandler(private & filters.COMMAND, support.at_once(show_unknown)),
            MessageHandler(private & filters.TEXT, support.in_turn(asks.in_text)),
            MessageHandler(private, support.at_once(show_not_understood)),
        ]
    )
