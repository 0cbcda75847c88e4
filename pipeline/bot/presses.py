"""Telegram's side of a button that was pressed."""

from __future__ import annotations

import logging

from telegram import CallbackQuery
from telegram.error import BadRequest

logger = logging.getLogger(__name__)


async def answer(query: CallbackQuery, toast: str = "") -> None:
    """Tell Telegram that a press was received, with a line that shows for a moment.

    Telegram takes no answer to a press that is more than 150 seconds old; what the press asks for
    is done all the same.
    """
    try:
        await query.answer(toast or None)
    except BadRequest as error:
        logger.info("a press is too old to be answered: %s", error)
