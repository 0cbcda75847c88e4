"""The base class of model vendors: each chat request goes into the ledger, then it is answered.

To add a vendor, write a subclass of `Vendor` and add a line to `app.py`.
"""

from __future__ import annotations

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from observatory.sandbox.catalogue import Model
from observatory.sandbox.exchange import Exchange, Reply
from observatory.sandbox.extension import Extension
from observatory.sandbox.ledger import Call, Ledger
from observatory.sandbox.styles import style_of
from observatory.sandbox.web import (
    CLIENT_LEFT,
    Json,
    Refused,
    application,
    parse_json,
    while_connected,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request's messages, with any system prompt first, and the schema for the answer."""

    messages: list[Json]
    schema: Json | None


class Vendor(ABC):
    """One vendor's API: its formats of requests, answers and errors."""

    name: str
    chat_path: ClassVar[str] = "/chat/completions"

    def __init__(self, *, ledger: Ledger, latency_s: float, extension: Extension) -> None:
        self._ledger = ledger
        self._latency_s = latency_s
        self._extension = extension

    @property
    def root(self) -> str:
        """The prefix of the vendor's paths."""
        return f"/{self.name}/v1"

    @abstractmethod
    def routes(self) -> Sequence[BaseRoute]:
        """Return the routes other than the chat route."""

    @abstractmethod
    def key(self, request: Request) -> str:
        """Return the request's API key, or ""."""

    @abstractmethod
    def admit(self, request: Request, body: Json) -> None:
        """Raise `Refused` for a bad key, a key without credit, or a missing header."""

    @abstractmethod
    def model(self, model_id: object) -> Model:
        """Return the requested model; raise `Refused` if it is unknown."""

    @abstractmethod
    def asked(self, body: Json, model: Model) -> Asked:
        """Return messages and schema; raise `Refused` if malformed or unfit for the model."""

    @abstractmethod
    def written(self, exchange: Exchange, text: str) -> Reply:
        """Return the full response with an answer's text."""

    @abstractmethod
    def failure(self, status: int, text: str, **details: Any) -> Reply:
        """Return an error response; `headers` in `details` become HTTP headers."""

    def app(self) -> Starlette:
        """Return the app that serves the paths below `root`."""
        chat = Route(self.chat_path, self.complete, methods=["POST"])
        return application(
            [chat, *self.routes()],
            lambda error: self.failure(error.status, error.text, **error.details).answer(),
        )

    async def complete(self, request: Request) -> Response:
        """Answer a chat request; the ledger records it before anything else is done."""
        raw = await request.body()
        return await while_connected(request, self._completed(request, raw))

    async def _completed(self, request: Request, raw: bytes) -> Response:
        body = _object_or_none(raw)
        call = self._ledger.open(
            path=f"{self.root}{self.chat_path}",
            key=self.key(request),
            headers=request.headers,
            body=body or {},
            size=len(raw),
        )
        try:
            reply = await self._reply(call, request, body)
        except asyncio.CancelledError:
            self._close(call, Reply(status=CLIENT_LEFT, body={}))
            raise
        except Refused as refusal:
            reply = self.failure(refusal.status, refusal.text, **refusal.details)
        self._close(call, reply)
        return reply.answer()

    async def _reply(self, call: Call, request: Request, body: Json | None) -> Reply:
        self.admit(request, body or {})
        if body is None:
            raise Refused(400, "the body is not a JSON object")
        if body.get("stream"):
            raise Refused(400, "the sandbox does not stream")
        model_id = body.get("model")
        added = self._extension.model(self, model_id) if isinstance(model_id, str) else None
        model = added.model if added else self.model(model_id)
        asked = self.asked(body, model)
        exchange = Exchange(
            n=call.n,
            key=call.key,
            model=model,
            messages=asked.messages,
            schema=asked.schema,
            at=time.time(),
            max_tokens=requested_limit(body),
        )
        pace = style_of(model.id).pace
        await _pause(self._latency_s * pace + (added.delay_s if added else 0.0))
        if added:
            return added.answer(exchange)
        return self.written(exchange, exchange.answer_in_style())

    def _close(self, call: Call, reply: Reply) -> None:
        self._ledger.close(
            call, status=reply.status, billed=reply.billed, generation=reply.generation
        )


def requested_limit(body: Json) -> int | None:
    """Return the requested output limit in tokens, under either of its names; None if absent."""
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _object_or_none(raw: bytes) -> Json | None:
    try:
        body = parse_json(raw)
    except Refused:
        return None
    return body if isinstance(body, dict) else None


async def _pause(seconds: float) -> None:
    """Sleep; if `seconds` is infinite, until the client disconnects, which cancels the request."""
    if math.isinf(seconds):
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(seconds)
