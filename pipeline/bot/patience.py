"""Retries of calls to Telegram when it asks to wait or cannot be reached."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina
from telegram.error import BadRequest, Conflict, Forbidden, NetworkError, RetryAfter

GIVE_UP_AFTER_S = 120.0
T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]], within_s: float = GIVE_UP_AFTER_S) -> T:
    """Make a call to Telegram, and retry for `within_s` seconds while another try may help.

    A request that timed out may have arrived. Repeating an edit is safe; a repeated message may
    appear twice, which is better than not at all.
    """
    async for attempt in stamina.retry_context(
        on=wait_before_next, attempts=None, timeout=within_s
    ):
        with attempt:
            return await call()
    raise AssertionError("stamina ends with a result or with the last error")


def wait_before_next(error: Exception) -> bool | float:
    """Tell stamina whether to retry; return the seconds to wait if Telegram named them."""
    if isinstance(error, RetryAfter):
        return seconds(error)
    # In the library, BadRequest is a subclass of NetworkError, but a retry cannot fix it.
    return isinstance(error, NetworkError | Conflict) and not isinstance(
        error, BadRequest | Forbidden
    )


def seconds(error: RetryAfter) -> float:
    """Return how many seconds Telegram asks to wait."""
    wait = error.retry_after
    return wait if isinstance(wait, int) else wait.total_seconds()
