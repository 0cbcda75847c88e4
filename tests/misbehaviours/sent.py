"""Every message that a bot sent, with all its edits: the tests' oracle."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime

from observatory.sandbox.web import Json

KEPT_MESSAGES = 50_000
CONTENT = (
    "text",
    "entities",
    "caption",
    "caption_entities",
    "photo",
    "document",
    "reply_markup",
)


class SentLog:
    """Messages in the order of their sending; numbers count sends, edits and deletions alike."""

    def __init__(self) -> None:
        self._last = 0
        self._rows: OrderedDict[tuple[int, int], Json] = OrderedDict()

    def note(self, method: str, message: Json) -> None:
        """Remember what a message looks like after `method`."""
        key = (message["chat"]["id"], message["message_id"])
        row = self._rows.setdefault(
            key, {"chat_id": key[0], "message_id": key[1], "is_deleted": False, "history": []}
        )
        row["history"].append(
            {"n": self._next(), "at": self._now(), "method": method}
            | {name: message[name] for name in CONTENT if name in message}
        )
        if len(self._rows) > KEPT_MESSAGES:
            self._rows.popitem(last=False)

    def note_deleted(self, chat_id: int, message_id: int) -> None:
        """Remember that a message of the bot is gone."""
        row = self._rows.get((chat_id, message_id))
        if row is not None:
            row["is_deleted"] = True
            row["history"].append({"n": self._next(), "at": self._now(), "method": "deleteMessage"})

    def after(self, n: int) -> list[Json]:
        """Return the messages that were sent, edited or deleted after number `n`."""
        return [row for row in self._rows.values() if row["history"][-1]["n"] > n]

    def _next(self) -> int:
        self._last += 1
        return self._last

    def _now(self) -> str:
        return datetime.now(UTC).isoformat(timespec="milliseconds")
