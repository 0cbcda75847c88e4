"""Delivers signed webhooks over HTTP, one request each; the caller decides on retries.

Results never contain the receiver's URL, which may hold a token. Of the answer, they have the
status and the wait that it asks for, nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from agents.llm import http
from agents.llm.retries import retry_after_s
from agents.webhook_signature import signed_headers

MAX_ANSWER_BYTES = 64 * 1024  # read, so that the connection can be used again, and dropped
MAX_RETRY_AFTER_S = 300.0
_ASKS_TO_WAIT = (429, 503)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is delivered: an id that is the same at each attempt, and JSON."""

    id: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where webhooks go, and the keys that sign them."""

    url: str = field(repr=False)
    keys: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The outcome of one request."""

    problem: str = ""  # why the message counts as not delivered; "" if the receiver answered 2xx
    retry_after_s: float | None = None  # the wait that the receiver asked for, at most 5 minutes


async def deliver(
    receiver: Receiver, message: Message, *, at: datetime, within_s: float
) -> Receipt:
    """Send a message, and return whether the receiver took it; takes at most `within_s` seconds.

    Redirects are not followed: a message is signed for one receiver.
    """
    headers = signed_headers(message.id, message.body, keys=receiver.keys, at=at)
    headers |= {**http.HEADERS, "Content-Type": "application/json"}
    receipt: Receipt | None = None
    try:
        async with asyncio.timeout(within_s):
            client = await http.pooled_client(receiver.url)
            async with client.stream(
                "POST", receiver.url, content=message.body, headers=headers, timeout=http.TIMEOUTS
            ) as response:
                receipt = _receipt(response.status_code, response.headers, at)
                read = 0
                async for chunk in response.aiter_raw():
                    read += len(chunk)
                    if read > MAX_ANSWER_BYTES:
                        break
    except TimeoutError:
        return receipt or Receipt(problem=f"it didn't answer within {within_s:.0f} s")
    except http.CONNECTION_ERRORS as error:
        # The library's text may quote the URL, so only the name of its error is kept.
        name = type(error.__cause__ or error).__name__
        return receipt or Receipt(problem=f"the connection failed ({name})")
    return receipt


def _receipt(status: int, headers: Mapping[str, str], at: datetime) -> Receipt:
    if 200 <= status < 300:
        return Receipt()
    asked_s = retry_after_s(headers, now=at, at_most_s=MAX_RETRY_AFTER_S)
    return Receipt(
        problem=f"it answered {status}", retry_after_s=asked_s if status in _ASKS_TO_WAIT else None
    )
