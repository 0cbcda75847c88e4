"""Handlers of the bot: registers one for each command, kind of message and button."""

from __future__ import annotations

from typing import Any

from telegram.ext import (
    Application,
    CallbackQueryHandler,
    CommandHandler,
    MessageHandler,
    filters,
)

from agents.override_changes import UNDO_PRESS
from pipeline.bot.handlers.account import (
    MINE,
    Mine,
    forget,
    offer_to_forget,
    show_memory,
    show_settings,
    show_why,
)
from pipeline.bot.handlers.addressed import ADDRESSED, COMMANDS, CONTENT
from pipeline.bot.handlers.buttons import RUN
from pipeline.bot.handlers.control import cancel, press_old_button, resend
from pipeline.bot.handlers.keys import PAYER, choose_payer
from pipeline.bot.handlers.operators import LINK, link_or, press_undo, refuse_code
from pipeline.bot.handlers.requests import in_command, in_other_content
from pipeline.bot.handlers.start import show_help, show_start, show_unknown
from pipeline.bot.handlers.support import Support
from pipeline.bot.handlers.training import (
    LEARN,
    TRAIN,
    WHICH,
    in_message_or_answer,
    press_track,
    press_training,
    read_learn,
    read_train,
    show_stats,
)
from pipeline.bot.outbox import RESEND
from pipeline.journal.records import NotifyOperators

__all__ = ["COMMANDS", "add_handlers"]


def add_handlers(
    application: Application[Any, Any, Any, Any, Any, Any],
    support: Support,
    mine: Mine,
    alert: NotifyOperators,
) -> None:
    """Register all handlers in order; the first one that matches an update handles it."""
    # New messages only: no edits and no channel posts.
    new = filters.UpdateType.MESSAGE
    picture = filters.PHOTO | filters.Document.IMAGE
    static_replies = {
        "help": support.reply_with(show_help),
        "cancel": support.reply_with(cancel),
        "model": support.reply_with(mine.show_models),
        "why": support.reply_with(show_why),
        "stats": support.reply_privately_with(show_stats),
        "start": support.reply_privately_with(show_start),
        "memory": support.reply_privately_with(show_memory),
        "settings": support.reply_privately_with(show_settings),
        "forget": support.reply_privately_with(offer_to_forget),
    }
    application.add_handlers(
        [
            *(CommandHandler(name, callback, new) for name, callback in static_replies.items()),
            CommandHandler(LINK, link_or(support.reply_privately_with(refuse_code), alert), new),
            CommandHandler("support", support.run(in_command), new),
            CommandHandler("learn", support.run(read_learn), new),
            CommandHandler("train", support.run(read_train), new),
            MessageHandler(new & ADDRESSED & filters.COMMAND, support.reply_with(show_unknown)),
            MessageHandler(
                new & ADDRESSED & (picture | filters.TEXT), support.run(in_message_or_answer)
            ),
            MessageHandler(new & ADDRESSED & CONTENT, support.run(in_other_content)),
            CallbackQueryHandler(resend, pattern=f"^{RESEND}"),
            CallbackQueryHandler(press_undo, pattern=f"^{UNDO_PRESS}"),
            CallbackQueryHandler(support.press_of_answer, pattern=f"^{RUN}"),
            CallbackQueryHandler(support.press(press_track), pattern=f"^{LEARN}"),
            CallbackQueryHandler(support.press(press_training), pattern=f"^{TRAIN}"),
            CallbackQueryHandler(support.press_which, pattern=f"^{WHICH}"),
            CallbackQueryHandler(support.press(forget), pattern=f"^{MINE}"),
            CallbackQueryHandler(support.press(choose_payer), pattern=f"^{PAYER}"),
            CallbackQueryHandler(press_old_button),
        ]
    )
