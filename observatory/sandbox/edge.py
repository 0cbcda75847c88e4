"""The sandbox's outermost middleware, which handles every request, whichever API it is for."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from observatory.sandbox.web import Refused, plain_error


class Edge:
    """ASGI middleware: sets headers, refuses other origins, and ends open responses at shutdown.

    A page of another origin must not act through the operator's browser. Responses that are open
    when the server stops, such as those of chat pages, are ended properly; otherwise each cancelled
    task would print a traceback.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        outgoing = _Outgoing(send)
        if scope["method"] not in ("GET", "HEAD") and _is_cross_origin(Headers(scope=scope)):
            refusal = plain_error(Refused(403, "this came from a page of another origin"))
            await refusal(scope, receive, outgoing)
            return
        try:
            await self._app(scope, receive, outgoing)
        except asyncio.CancelledError:
            # Nothing else may be awaited here: a second cancellation follows at once.
            if not outgoing.has_started:
                stopping = plain_error(Refused(503, "the sandbox is shutting down"))
                await stopping(scope, receive, outgoing)
            elif not outgoing.has_ended:
                await outgoing({"type": "http.response.body", "body": b""})


class _Outgoing:
    """Wraps `send`: adds the headers of every response, and tracks whether it started and ended."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_started = False
        self.has_ended = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["x-content-type-options"] = "nosniff"
            headers.setdefault("cache-control", "no-store")
        self.has_started = True
        self.has_ended = message["type"] == "http.response.body" and not message.get("more_body")
        await self._send(message)


def _is_cross_origin(headers: Headers) -> bool:
    """Return whether a browser sent this request for a page from another host."""
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")
