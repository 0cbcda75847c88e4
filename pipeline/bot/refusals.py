"""Interprets Telegram's errors: what is at fault (chat, topic, length), and whether it arrived.

Telegram gives error texts and no codes. The patterns here come from its server's source code and
from public reports.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable

from django.conf import settings
from telegram import Message
from telegram.error import BadRequest, Forbidden, TelegramError

from pipeline.bot.static_reply import ReplyTarget

logger = logging.getLogger(__name__)

# Exceptions that the library raises on an answer that is not in the Bot API's format.
ODD_ANSWERS = (AttributeError, KeyError, TypeError, ValueError)

_TOPIC_IS_GONE = re.compile(r"thread not found|topic[_ ](closed|deleted|id)", re.IGNORECASE)
# The bot lost the chat (deleted, deactivated, never joined) or its right to write texts there.
_CHAT_IS_CLOSED = re.compile(
    r"chat not found|peer_id_invalid|deactivated|channel_(private|invalid)|not in the chat"
    r"|not enough rights to send text|no rights to send a message|no write access"
    r"|need administrator rights|chat_(write|send_plain)_forbidden"
    r"|chat_(forbidden|restricted|admin_required)|user_is_blocked",
    re.IGNORECASE,
)
_IS_TOO_LONG = re.compile(r"too[_ ]long", re.IGNORECASE)
_NEVER_LEFT = ("ConnectError", "ConnectTimeout", "PoolTimeout")  # names of httpx exceptions


def not_the_bot_api(error: Exception) -> str:
    """Return an error message about a server that does not answer like Telegram's Bot API."""
    return (
        f"{settings.TELEGRAM_API_BASE_URL} does not answer as Telegram's Bot API does "
        f"({type(error).__name__}): check TELEGRAM_API_BASE_URL."
    )


def is_about_the_topic(error: BadRequest) -> bool:
    """Tell whether a message was refused because its topic is closed or deleted."""
    return bool(_TOPIC_IS_GONE.search(str(error)))


def takes_no_messages(error: TelegramError) -> bool:
    """Tell whether the chat accepts no message of the bot, whatever the message says.

    Members block the bot, groups remove it or its right to write, chats are deleted. Telegram
    reports some of these as 403 and others as 400 (tests/pipeline/bot/closed_chats.yaml).
    """
    return isinstance(error, Forbidden) or (
        isinstance(error, BadRequest) and bool(_CHAT_IS_CLOSED.search(str(error)))
    )


def is_too_long(error: BadRequest) -> bool:
    """Tell whether a message was refused as too long; Telegram counts its length after parsing."""
    return bool(_IS_TOO_LONG.search(str(error)))


async def where_it_can(target: ReplyTarget, send: Callable[..., Awaitable[Message]]) -> Message:
    """Send to the target; if its topic is closed or deleted, retry without topic, then plainly."""
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
    """Tell whether a failed request certainly had no effect.

    True if no connection was made, or if Telegram replied with an error.
    """
    cause = error.__cause__
    if not isinstance(error, TelegramError):
        return False
    return cause is None or isinstance(cause, TelegramError) or type(cause).__name__ in _NEVER_LEFT
