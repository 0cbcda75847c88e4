"""A Bot API that hands out updates as fast as they are fetched: `python -m bench.telegram`.

`POST /more?n=100` has so many more messages come in, from 200 people in turns; what has been
acknowledged is handed out no more. Everything that a bot sends is accepted at once.
"""

from __future__ import annotations

import asyncio
import json
import re

from bench.standin import serve

BATCH = 100  # as Telegram's largest
PEOPLE = 200
TOKEN = "1000000001:BENCH-no-account-needed-on-loopback-0000"
BOT = {"id": 1000000001, "is_bot": True, "first_name": "Bench", "username": "bench_bot"}
_PATH = re.compile(rb"[A-Z]+ /(?:\S*/)?(\w+)(?:\?n=(\d+))? HTTP")
_OFFSET = re.compile(rb'offset"?(?:=|\r\n\r\n|": ?)(\d+)')


class BotApi:
    """Answers as the Bot API does, as far as it is asked here."""

    def __init__(self) -> None:
        self._last_id = 0

    def __call__(self, head: bytes, body: bytes) -> bytes | None:
        found = _PATH.match(head)
        method = found[1].decode().lower() if found else ""
        if method == "getupdates":
            return self._updates(body)
        if found and method == "more":
            self._last_id += int(found[2])
        result = {"getme": BOT, "sendmessage": _message(0)}.get(method, True)
        return json.dumps({"ok": True, "result": result}).encode()

    def _updates(self, body: bytes) -> bytes | None:
        found = _OFFSET.search(body)
        first = max(1, int(found[1])) if found else 1
        ids = range(first, min(self._last_id, first + BATCH - 1) + 1)
        if not ids:
            return None
        updates = [{"update_id": number, "message": _message(number)} for number in ids]
        return json.dumps({"ok": True, "result": updates}).encode()


def _message(number: int) -> dict[str, object]:
    person = 5000 + number % PEOPLE
    return {
        "message_id": number,
        "date": 1764000000,
        "chat": {"id": person, "type": "private", "first_name": "Person"},
        "from": {"id": person, "is_bot": False, "first_name": "Person", "language_code": "en"},
        "text": f"VP of Strategy at a mid-size bank, worried about switching cost. No. {number}",
    }


if __name__ == "__main__":
    asyncio.run(serve(BotApi()))
