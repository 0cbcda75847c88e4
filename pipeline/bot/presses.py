"""Answers button presses (Telegram's callback queries)."""

from __future__ import annotations

import logging

from telegram import CallbackQuery
from telegram.error import BadRequest

logger = logging.getLogger(__name__)


async def answer(query: CallbackQuery, toast: str = "") -> None:
    """Acknowledge a press to Telegram; `toast` is a line that the member sees for a moment.

    Telegram refuses an answer to a press that is more than 150 seconds old. The refusal is only
    logged, so that the press is handled anyway.
    """
    try:
        await query.answer(toast or None)
    except BadRequest as error:
        logger.info("a press is too old to be answered: %s", error)
