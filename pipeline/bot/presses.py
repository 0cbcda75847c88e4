"""Answers button presses (Telegram's callback queries)."""

from __future__ import annotations

import logging

from telegram import CallbackQuery
from telegram.error import BadRequest

logger = logging.getLogger(__name__)

MAX_TOAST = 200  # characters; Telegram's limit


async def answer(query: CallbackQuery, toast: str = "", *, must_confirm: bool = False) -> None:
    """Acknowledge a press to Telegram; `toast` is a line that the person sees for a moment.

    With `must_confirm`, the line is shown until they close it. A longer line than Telegram takes is
    cut.

    Telegram refuses an answer to a press that is more than 150 seconds old. The refusal is only
    logged, so that the press is handled anyway.
    """
    try:
        await query.answer(toast[:MAX_TOAST] or None, show_alert=must_confirm)
    except BadRequest as error:
        logger.info("a press is too old to be answered: %s", error)
