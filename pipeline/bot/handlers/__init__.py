"""What the bot does with each kind of update."""

from __future__ import annotations

from typing import Any

from telegram.ext import Application, CommandHandler, MessageHandler, filters

from pipeline.bot.handlers.support import Support
from pipeline.bot.handlers.welcome import show_help, show_start, show_unknown

COMMANDS = [
    ("support", "Analysis, strategy, steps and a draft"),
    ("start", "What I do"),
    ("help", "What you can send"),
]


def add_handlers(application: Application[Any, Any, Any, Any, Any, Any], support: Support) -> None:
    """Register every handler; the first that matches an update takes it."""
    private = filters.ChatType.PRIVATE & filters.UpdateType.MESSAGE
    application.add_handlers(
        [
            CommandHandler("start", support.for_members(show_start)),
            CommandHandler("help", support.for_members(show_help)),
            CommandHandler("support", support.for_members(support.answer_command)),
            MessageHandler(private & filters.PHOTO, support.for_members(support.answer_photo)),
            MessageHandler(private & filters.COMMAND, support.for_members(show_unknown)),
            MessageHandler(private & filters.TEXT, support.for_members(support.answer_text)),
            MessageHandler(private, support.for_members(support.answer_other)),
        ]
    )
