"""HTTP requests to Telegram: TLS setup, and storing updates before they are acknowledged.

Each `getUpdates` call acknowledges the updates that the previous call returned. The raw response
is therefore stored before the HTTP call returns to the library, which receives only stubs that
hold the update IDs. If storing fails, the library sees a network error, nothing is acknowledged,
and Telegram sends the same updates again.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
from asgiref.sync import sync_to_async
from telegram.error import TelegramError
from telegram.request import HTTPXRequest, RequestData

from agents.connections import afresh
from pipeline import crashpoints
from pipeline.bot.intake import UNREADABLE, Json, store
from pipeline.queue.base import AddTasks

_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')  # a string is one token
_RESULT = re.compile(r'\s*\{[^\[{]*"result"\s*:\s*\[')
_UPDATE_ID = re.compile(r'"update_id"\s*:\s*(\d+)')


@cache
def tls_context() -> ssl.SSLContext:
    """Return the TLS context that all requests share, because reading certificates takes 15 ms.

    The environment's `SSL_CERT_FILE` and `SSL_CERT_DIR` are honored, as python-telegram-bot does.
    """
    return httpx.create_ssl_context()


class NotTheBotApi(TelegramError):
    """The answer is not from Telegram's Bot API: a wrong server, or a proxy in between."""


class PersistingRequest(HTTPXRequest):
    """HTTP client for `getUpdates` that stores each answer before the library sees it."""

    def __init__(self, bot_id: int, add_tasks: AddTasks, **options: Any) -> None:
        super().__init__(**options)
        self._bot_id = bot_id
        self._add_tasks = add_tasks

    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        *timeouts: Any,
        **more: Any,
    ) -> tuple[int, bytes]:
        """Make the request; store a getUpdates answer and return the updates' ids in its place.

        Raises:
            NotTheBotApi: the answer is not a list of updates. The library turns any other
                exception into a NetworkError for its callers.
        """
        code, payload = await super().do_request(url, method, request_data, *timeouts, **more)
        if code != 200 or not url.endswith("/getUpdates"):
            return code, payload
        try:
            updates = updates_in(payload.decode("utf-8", "replace"))
        except UNREADABLE as error:
            raise NotTheBotApi(f"an answer to getUpdates of another shape: {error!r}") from error
        if updates:
            await sync_to_async(afresh)(store, self._bot_id, updates, self._add_tasks)
            crashpoints.reach("updates stored")
        hollow = [{"update_id": update["update_id"]} for update in updates]
        return code, json.dumps({"ok": True, "result": hollow}).encode()


def updates_in(answer: str) -> list[Json]:
    """Return the updates in an answer; an update that cannot be parsed is reduced to its id.

    Raises:
        One of UNREADABLE: the answer is not a list of updates.
    """
    try:
        updates = json.loads(answer)["result"]
    except (RecursionError, ValueError):
        # One update is nested too deeply (about 1,000 levels) or has a number of 5,000 digits.
        found = _RESULT.match(answer)
        if found is None:
            raise
        updates = [_read(text) for text in _parts_of(answer[found.end() - 1 :])]
    if not isinstance(updates, list) or any(type(one["update_id"]) is not int for one in updates):
        raise TypeError("no list of updates")
    return updates


def _parts_of(array: str) -> Iterator[str]:
    """Yield the elements of a JSON array of objects as text, however deeply they are nested."""
    depth, start = 0, 0
    for token in _BRACKETS.finditer(array):
        if token[0] in ("[", "{"):
            depth += 1
            if depth == 2:
                start = token.start()
        elif token[0] in ("]", "}"):
            depth -= 1
            if depth == 1:
                yield array[start : token.end()]
            if depth == 0:
                return


def _read(text: str) -> Json:
    try:
        update: Json = json.loads(text)
    except (RecursionError, ValueError):
        found = _UPDATE_ID.search(text)
        return {"update_id": int(found[1]) if found else 0}
    return update
