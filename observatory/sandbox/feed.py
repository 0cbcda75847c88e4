"""The event feed of open chat pages: a bounded log of events with cursors.

Readers keep a cursor instead of having a queue, so an idle page costs nothing, and a page that
reconnects continues from its cursor or gets a `reset` event to reload.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from itertools import takewhile

from observatory.sandbox.web import Json

KEPT_EVENTS = 5000
HEARTBEAT_S = 15.0  # proxies drop silent streams after 30 s or more


@dataclass(frozen=True, slots=True)
class Entry:
    """One event; with `person_id` None, it is for all pages."""

    n: int
    person_id: int | None
    name: str
    value: Json


class Feed:
    """The log of events that pages follow."""

    def __init__(self) -> None:
        self._boot = secrets.token_hex(4)  # cursors from before a restart must not match
        self._entries: deque[Entry] = deque(maxlen=KEPT_EVENTS)
        self._last = 0
        self._news = asyncio.Event()  # replaced after each event

    @property
    def cursor(self) -> str:
        """The id of the newest event."""
        return f"{self._boot}-{self._last}"

    def publish(self, name: str, value: Json, *, person_id: int | None) -> None:
        """Add an event and wake the waiting readers."""
        self._last += 1
        self._entries.append(Entry(self._last, person_id, name, value))
        self._news.set()
        self._news = asyncio.Event()

    async def follow(self, person_id: int, cursor: str | None) -> AsyncGenerator[bytes, None]:
        """Yield this person's events after `cursor`, None for now; if it is unknown, `reset` first.

        Events are server-sent events as bytes; a comment is the heartbeat.
        """
        seen = self._last if cursor is None else self._position(cursor)
        yield b"retry: 1000\n\n"
        while True:
            if seen is None or seen < self._last - len(self._entries):
                seen = self._last
                yield _event("reset", {}, event_id=self.cursor)
            for entry in self._after(seen):
                if entry.person_id in (None, person_id):
                    yield _event(entry.name, entry.value, event_id=f"{self._boot}-{entry.n}")
                seen = entry.n
            if seen == self._last:
                try:
                    await asyncio.wait_for(self._news.wait(), HEARTBEAT_S)
                except TimeoutError:
                    yield b": still here\n\n"

    def _position(self, cursor: str) -> int | None:
        boot, _, n = cursor.partition("-")
        if boot != self._boot or not n.isdecimal() or int(n) > self._last:
            return None
        return int(n)

    def _after(self, n: int) -> list[Entry]:
        return list(takewhile(lambda entry: entry.n > n, reversed(self._entries)))[::-1]


def _event(name: str, value: Json, *, event_id: str) -> bytes:
    """Return one server-sent event with a JSON payload."""
    return f"id: {event_id}\nevent: {name}\ndata: {json.dumps(value)}\n\n".encode()
