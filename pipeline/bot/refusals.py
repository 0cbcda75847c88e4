"""What Telegram's refusals mean: what to leave out, and what has certainly not arrived.

Telegram has words for them and no codes; these are of its server's source and of public reports.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable

from django.conf import settings
from telegram import Message
from telegram.error import BadRequest, TelegramError

from pipeline.bot.static_reply import ReplyTarget

logger = logging.getLogger(__name__)

# What the library stumbles over in an answer of another shape than the Bot API's.
ODD_ANSWERS = (AttributeError, KeyError, TypeError, ValueError)

_TOPIC_IS_GONE = re.compile(r"thread not found|topic[_ ](closed|deleted|id)", re.IGNORECASE)
_IS_TOO_LONG = re.compile(r"too[_ ]long", re.IGNORECASE)
_NEVER_LEFT = ("ConnectError", "ConnectTimeout", "PoolTimeout")  # httpx's names


def not_the_bot_api(error: Exception) -> str:
    """Return the line about a server that answers, but not as Telegram's Bot API does."""
    return (
        f"{settings.TELEGRAM_API_BASE_URL} does not answer as Telegram's Bot API does "
        f"({type(error).__name__}): check TELEGRAM_API_BASE_URL."
    )


def is_about_the_topic(error: BadRequest) -> bool:
    """Tell whether a message was refused because its topic is closed or gone."""
    return bool(_TOPIC_IS_GONE.search(str(error)))


def is_too_long(error: BadRequest) -> bool:
    """Tell whether a message was refused for its length, which Telegram counts after parsing."""
    return bool(_IS_TOO_LONG.search(str(error)))


async def where_it_can(target: ReplyTarget, send: Callable[..., Awaitable[Message]]) -> Message:
    """Send to a topic and as a reply; should the topic be closed or gone, without it."""
    *wanted, last = target.options
    for options in wanted:
        try:
            return await send(**options)
        except BadRequest as error:
            if not is_about_the_topic(error):
                raise
            logger.info("topic %s takes no messages: %s", target.topic, error)
    return await send(**last)


def never_arrived(error: Exception) -> bool:
    """Tell whether a request certainly did nothing: no connection, or an error in reply."""
    cause = error.__cause__
    if not isinstance(error, TelegramError):
        return False
    return cause is None or isinstance(cause, TelegramError) or type(cause).__name__ in _NEVER_LEFT
