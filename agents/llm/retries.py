"""Retries: when a failed request is sent again, and how long to wait before that.

Only `.retryable` errors are retried. These certainly cost nothing, because the provider refused
with an error status or nothing had been sent. There are only a few retries, with jitter, and none
after the deadline of the whole call. If the next wait would pass the deadline, the last error is
raised at once, which leaves time for a fallback.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Self, TypeVar

import stamina

from agents.llm.errors import LLMError

RETRY_AFTER_MAX_S = 60.0  # a provider that asks for an hour is asked again after a minute

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadline:
    """The deadline of a call, on the monotonic clock."""

    at: float

    @classmethod
    def in_seconds(cls, seconds: float) -> Self:
        return cls(time.monotonic() + seconds)

    def within(self, seconds: float) -> Self:
        """Return the deadline for a part of the call: `seconds` from now, or `self` if earlier."""
        return type(self)(min(self.at, time.monotonic() + seconds))

    @property
    def remaining_s(self) -> float:
        """Return the seconds left; zero or negative once the deadline has passed."""
        return self.at - time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a request is attempted, and how long to wait between the attempts."""

    attempts: int = 4
    wait_initial_s: float = 0.5  # doubled after each attempt
    wait_max_s: float = 8.0
    wait_jitter_s: float = 0.5  # keeps parallel steps from retrying all at once

    def wait_s(self, error: LLMError, number: int) -> float:
        """Return the seconds to wait after attempt `number` failed with this error."""
        wait_s = error.retry_after_s
        if wait_s is None:
            wait_s = min(self.wait_initial_s * 2 ** (number - 1), self.wait_max_s)
        return wait_s + random.uniform(0, self.wait_jitter_s)  # noqa: S311


async def retrying(
    attempt: Callable[[], Awaitable[T]], *, policy: RetryPolicy, deadline: Deadline
) -> T:
    """Call `attempt` until it succeeds, and return its result.

    Raises:
        LLMError: the error of the last attempt.
    """
    try:
        return await attempt()
    except LLMError as error:
        if not error.retryable:
            raise
        first_error = error
    number = 1

    def wait_before_next(error: Exception) -> bool | float:
        if not isinstance(error, LLMError) or not error.retryable:
            return False
        wait_s = policy.wait_s(error, number)
        return wait_s if wait_s < deadline.remaining_s else False

    async for context in stamina.retry_context(
        on=wait_before_next, attempts=policy.attempts, timeout=None
    ):
        with context:
            number = context.num
            if number == 1:
                # Already attempted above: the loop costs 90 µs, and most calls never need it.
                raise first_error
            return await attempt()
    raise AssertionError("stamina ends with a result or with the last error")


def retry_after_s(
    headers: Mapping[str, str],
    *,
    now: datetime | None = None,
    at_most_s: float = RETRY_AFTER_MAX_S,
) -> float | None:
    """Return the wait in seconds from the `retry-after` headers, capped; None if not usable.

    OpenAI's `retry-after-ms` takes precedence, because it is more exact.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if (wait_s := capped_wait_s(milliseconds / 1000, at_most_s)) is not None:
        return wait_s
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value, now or datetime.now(UTC))
    return capped_wait_s(seconds, at_most_s)


def _number(text: str) -> float:
    try:
        return float(text.strip())
    except ValueError:
        return math.nan


def capped_wait_s(seconds: float, at_most_s: float = RETRY_AFTER_MAX_S) -> float | None:
    """Return the seconds, at most `at_most_s`; None if they are negative or not finite."""
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, at_most_s)


def _seconds_until(http_date: str, now: datetime) -> float:
    try:
        then = parsedate_to_datetime(http_date)
    except (ValueError, TypeError, OverflowError):
        return math.nan
    # A date with the offset "-0000" is parsed without a time zone. HTTP dates are always in UTC.
    return (then.replace(tzinfo=then.tzinfo or UTC) - now).total_seconds()
