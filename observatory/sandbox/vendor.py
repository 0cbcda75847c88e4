"""The base class of model vendors: each chat request goes into the ledger, then it is answered.

A vendor is a subclass that says how it differs, and a line in `app.py`.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from observatory.sandbox.catalogue import Model, find_model
from observatory.sandbox.chat_request import AnthropicRequest, CompletionRequest
from observatory.sandbox.exchange import Exchange, Reply, WireFormat, conversation
from observatory.sandbox.extension import Extension
from observatory.sandbox.ledger import Call, Ledger
from observatory.sandbox.styles import style_of
from observatory.sandbox.web import (
    CLIENT_LEFT,
    Json,
    Refused,
    application,
    parse_json,
    validated,
    while_connected,
)

NO_CREDIT = "nocredit"  # in a key: its account is empty


class Vendor(ABC):
    """One vendor's API: its formats of requests, answers and errors."""

    chat_path: ClassVar[str] = "/chat/completions"
    request_format: ClassVar[type[CompletionRequest | AnthropicRequest]]
    unknown_model: ClassVar[tuple[int, str]]  # status and text of the refusal
    bad_key: ClassVar[str]
    no_credit: ClassVar[Json]  # the refusal of a key without credit
    wire: WireFormat
    keys: str  # a pattern
    models: ClassVar[Sequence[Model]]

    def __init__(self, *, ledger: Ledger, latency_s: float, extension: Extension) -> None:
        self._ledger = ledger
        self._latency_s = latency_s
        self._extension = extension

    @property
    def root(self) -> str:
        """The prefix of the vendor's paths."""
        return f"/{self.wire.name}/v1"

    def routes(self) -> list[BaseRoute]:
        """Return the routes other than the chat route."""
        return [Route("/models", self.list_models)]

    @abstractmethod
    async def list_models(self, request: Request) -> Response:
        """List the models."""

    def key(self, request: Request) -> str:
        """Return the request's API key, or ""; by default, the bearer token."""
        return bearer(request)

    def admit(self, request: Request) -> str:
        """Return the key; raise the 401 if it is missing or malformed."""
        key = self.key(request)
        if not re.fullmatch(self.keys, key):
            raise Refused(401, self.bad_key)
        return key

    def offered(self) -> Sequence[Model]:
        """Return the models on offer."""
        return self._extension.offered(self.wire, self.models)

    def model(self, model_id: str) -> Model:
        """Return the model with this id; raise `Refused` if there is none."""
        model = find_model(model_id, self.offered())
        if model is None:
            status, text = self.unknown_model
            raise Refused(status, text.format(model_id))
        return model

    def fitted(self, exchange: Exchange, body: Json) -> Exchange:
        """Return the exchange as its model can take it; raise `Refused` if it can't."""
        return exchange

    def app(self) -> Starlette:
        """Return the app that serves the paths below `root`."""
        chat = Route(self.chat_path, self.complete, methods=["POST"])
        return application([chat, *self.routes()], lambda error: self._failure(error).answer())

    async def complete(self, request: Request) -> Response:
        """Answer a chat request; the ledger records it before anything else is done."""
        raw = await request.body()
        return await while_connected(request, self._completed(request, raw))

    async def _completed(self, request: Request, raw: bytes) -> Response:
        try:
            body = parse_json(raw)
        except Refused:
            body = None
        call = self._ledger.open(
            path=f"{self.root}{self.chat_path}",
            key=self.key(request),
            headers=request.headers,
            body=body if isinstance(body, dict) else {},
        )
        reply = Reply(status=CLIENT_LEFT, body={})
        try:
            self.admit(request)
            reply = await self._reply(call, body)
        except Refused as refusal:
            reply = self._failure(refusal)
        finally:
            self._ledger.close(call, reply)
        return reply.answer()

    async def _reply(self, call: Call, body: Any) -> Reply:
        if NO_CREDIT in call.key:
            raise Refused(**self.no_credit)
        request = validated(self.request_format, body)
        added = self._extension.model(self.wire, request.model)
        exchange = Exchange(
            n=call.n,
            key=call.key,
            model=added.model if added else self.model(request.model),
            messages=conversation(body),
            schema=request.format.wanted if request.format else None,
            at=time.time(),
            max_tokens=request.max_tokens,
        )
        self._extension.before_answer(self.wire, exchange, body)
        exchange = self.fitted(exchange, body)
        pace = style_of(exchange.model.id).pace
        await _pause(self._latency_s * pace + (added.delay_s if added else 0.0))
        if added:
            return added.answer(exchange)
        return self.wire.written(exchange, exchange.answer_in_style())

    def _failure(self, refusal: Refused) -> Reply:
        return self.wire.failure(refusal.status, refusal.text, **refusal.details)


def bearer(request: Request) -> str:
    """Return the bearer token in the Authorization header, or ""."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


async def _pause(seconds: float) -> None:
    """Sleep; if `seconds` is infinite, until the client disconnects, which cancels the request."""
    if math.isinf(seconds):
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(seconds)
