"""How long to try again when Telegram asks to wait or cannot be reached."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina
from telegram.error import BadRequest, Conflict, Forbidden, NetworkError, RetryAfter

GIVE_UP_AFTER_S = 120.0
T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]], within_s: float = GIVE_UP_AFTER_S) -> T:
    """Make a call to Telegram again while another try may help.

    A request that timed out may have arrived: an edit is safe to repeat, a message may appear
    twice, which is better than not at all.
    """
    async for attempt in stamina.retry_context(
        on=wait_before_next, attempts=None, timeout=within_s
    ):
        with attempt:
            return await call()
    raise AssertionError("stamina ends with a result or with the last error")


def wait_before_next(error: Exception) -> bool | float:
    """Tell stamina whether another try may help, and after how many seconds if Telegram said so."""
    if isinstance(error, RetryAfter):
        return seconds(error)
    # BadRequest is a NetworkError in the library's tree, but no second try makes it good.
    return isinstance(error, NetworkError | Conflict) and not isinstance(
        error, BadRequest | Forbidden
    )


def seconds(error: RetryAfter) -> float:
    """Return how long Telegram asks to wait."""
    wait = error.retry_after
    return wait if isinstance(wait, int) else wait.total_seconds()
