"""The sandbox as one ASGI app: joins the corners, finds the route, reads the body, answers.

Mount it under any prefix (`scope["root_path"]` is cut off) or run it alone: `__main__.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import Any

from observatory.sandbox.anthropic import Anthropic
from observatory.sandbox.chat import ChatApi
from observatory.sandbox.chats import Chats
from observatory.sandbox.feed import Feed
from observatory.sandbox.forms import parse_urlencoded
from observatory.sandbox.handles import Handles
from observatory.sandbox.journal import Journal
from observatory.sandbox.ledger import Ledger
from observatory.sandbox.limits import Faults, RateLimit
from observatory.sandbox.openai import OpenAi
from observatory.sandbox.openrouter import OpenRouter
from observatory.sandbox.telegram import BotApi
from observatory.sandbox.vendor import AddedModels, no_added_models
from observatory.sandbox.web import (
    Answer,
    ErrorRenderer,
    Refused,
    Request,
    Route,
    Stream,
    is_cross_origin,
    plain_error,
)

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 60 * 1024 * 1024  # above Telegram's largest upload, 50 MB


def create_app(
    *,
    journal: Path | None = None,
    latency_s: float = 0.0,
    vendors: Mapping[str, str] | None = None,
    added_models: AddedModels = no_added_models,
) -> Asgi:
    """Return the sandbox, restored from `journal`, with `latency_s` before each model answer.

    `vendors` are more of those that speak chat completions: the shape of their keys by their names.
    `added_models` finds the models that are in no list: those that tests have go wrong.
    """
    feed = Feed()
    chats = Chats(journal=Journal(journal), feed=feed, clock=time.time)
    ledger = Ledger(feed=feed, clock=time.time)
    limit, faults = RateLimit(clock=time.time), Faults()
    shared: dict[str, Any] = {
        "ledger": ledger,
        "latency_s": latency_s,
        "clock": time.time,
        "added_models": added_models,
    }
    routes = [
        *BotApi(chats=chats, limit=limit, faults=faults).routes(),
        *Handles(chats=chats, limit=limit, faults=faults).routes(),
        *OpenRouter(**shared).routes(),
        *Anthropic(**shared).routes(),
        *OpenAi(**shared).routes(),
        *chain.from_iterable(
            OpenAi(**shared, name=name, keys=re.compile(shape)).routes()
            for name, shape in (vendors or {}).items()
        ),
        *ChatApi(chats=chats, ledger=ledger, feed=feed).routes(),
    ]
    return Sandbox(routes)


class Sandbox:
    """The ASGI callable over a list of routes."""

    def __init__(self, routes: list[Route]) -> None:
        self._routes = routes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, and stop answering it when the client leaves."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        render_error: ErrorRenderer = plain_error
        try:
            route, arguments = self._find(scope["method"], path)
            render_error = route.render_error
            request = await _read(scope, path, receive)
        except Refused as refusal:
            await _send(render_error(refusal.status, refusal.text), send)
            return
        except ConnectionResetError:
            return
        outgoing = _Outgoing(send)
        work = asyncio.ensure_future(_answer(route, request, arguments, outgoing))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            # The server stops. This is the outermost frame of the request's task, and pages keep
            # streams open for ever: end them politely, for raising prints a traceback for each.
            # Nothing is waited for, since a second cancellation follows at once.
            work.cancel()
            gone.cancel()
            await outgoing.finish(render_error(503, "the sandbox is shutting down"))
            return
        work.cancel()
        gone.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)

    def _find(self, method: str, path: str) -> tuple[Route, tuple[str, ...]]:
        matches = [(route, match) for route in self._routes if (match := route.matches(path))]
        for route, match in matches:
            if method in route.methods:
                return route, match.groups()
        if matches:
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} is not for this path")
        raise Refused(HTTPStatus.NOT_FOUND, "there is nothing at this path")


class _Outgoing:
    """Sends, and knows how far the response has come."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._has_started = False
        self._has_ended = False

    async def __call__(self, message: Message) -> None:
        self._has_started = True
        self._has_ended = message["type"] == "http.response.body" and not message.get("more_body")
        await self._send(message)

    async def finish(self, otherwise: Answer) -> None:
        """End a response that has begun, or send `otherwise`."""
        if not self._has_started:
            await _send(otherwise, self)
        elif not self._has_ended:
            await self({"type": "http.response.body", "body": b""})


async def _answer(route: Route, request: Request, arguments: tuple[str, ...], send: Send) -> None:
    try:
        if route.own_origin_only and is_cross_origin(request):
            raise Refused(403, "this came from a page of another origin")
        answer = await route.handler(request, *arguments)
    except Refused as refusal:
        answer = route.render_error(refusal.status, refusal.text)
    except Exception:
        # The edge of the app: a fault of the sandbox must look like one, never like a hang.
        logger.exception("sandbox failed on %s", route.pattern.pattern)
        answer = route.render_error(500, "the sandbox itself failed; its log says why")
    # A client that left while its answer was under way is no fault, nor is an answer that is cut on
    # purpose: the server closes the connection when this returns before the body's end.
    with contextlib.suppress(OSError):
        await _send(answer, send)


async def _read(scope: Message, path: str, receive: Receive) -> Request:
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > MAX_BODY_BYTES:
            raise Refused(413, "Request Entity Too Large")
        more = message.get("more_body", False)
    return Request(
        method=scope["method"],
        mount=scope.get("root_path", ""),
        path=path,
        query=parse_urlencoded(scope["query_string"]),
        headers={
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        },
        body=b"".join(chunks),
    )


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(answer: Answer, send: Send) -> None:
    if isinstance(answer, Stream):
        headers = {"cache-control": "no-store"} | answer.headers
        await _start(send, answer.status, answer.content_type, headers)
        async with contextlib.aclosing(answer.chunks) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    headers = {"content-length": str(len(answer.body))} | answer.headers
    await _start(send, answer.status, answer.content_type, headers)
    await send({"type": "http.response.body", "body": answer.body})


async def _start(send: Send, status: int, content_type: str, headers: dict[str, str]) -> None:
    every = {"content-type": content_type, "x-content-type-options": "nosniff"} | headers
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in every.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
