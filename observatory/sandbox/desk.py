"""Takes each vendor's chats: writes them into the ledger, then answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections import OrderedDict

from observatory.sandbox.admission import requested_limit
from observatory.sandbox.exchange import Exchange, Reply
from observatory.sandbox.ledger import Call, Ledger
from observatory.sandbox.vendor import AddedModel, AddedModels, Rejected, Vendor
from observatory.sandbox.web import Answer, Clock, Json, Refused, Request

CLIENT_LEFT = 499
REMEMBERED_PROMPTS = 10_000


class Desk:
    """Answers the chats that come to one vendor, none of them in pieces."""

    def __init__(
        self,
        vendor: Vendor,
        *,
        ledger: Ledger,
        latency_s: float,
        clock: Clock,
        added_models: AddedModels,
    ) -> None:
        self._vendor = vendor
        self._ledger = ledger
        self._latency_s = latency_s
        self._clock = clock
        self._added_models = added_models
        self._attempts: OrderedDict[str, int] = OrderedDict()

    async def complete(self, request: Request) -> Answer:
        """Answer a chat; the ledger knows of it before anybody else does."""
        body = _body_or_nothing(request)
        call = self._ledger.open(
            path=request.path,
            key=self._vendor.key(request),
            headers=request.headers,
            body=body or {},
            size=len(request.body),
        )
        try:
            reply = await self._reply(call, request, body)
        except asyncio.CancelledError:
            self._close(call, Reply(status=CLIENT_LEFT, body={}))
            raise
        except Rejected as rejection:
            reply = self._vendor.failure(rejection.status, rejection.text, **rejection.details)
        except Refused as refusal:
            reply = self._vendor.failure(refusal.status, refusal.text)
        self._close(call, reply)
        return reply.answer()

    async def _reply(self, call: Call, request: Request, body: Json | None) -> Reply:
        self._vendor.admit(request)
        if body is None:
            raise Refused(400, "the body is not a JSON object")
        if body.get("stream"):
            raise Refused(400, "the sandbox does not stream")
        added = self._added(body.get("model"))
        model = added.model if added else self._vendor.model(body.get("model"))
        asked = self._vendor.asked(body, model)
        exchange = Exchange(
            n=call.n,
            key=call.key,
            model=model,
            messages=asked.messages,
            schema=asked.schema,
            at=self._clock(),
            attempt=self._attempt(call.key, body) if added else 1,
            max_tokens=requested_limit(body),
        )
        await _pause(self._latency_s + (added.delay_s if added else 0.0))
        if added:
            return added.answer(exchange)
        return self._vendor.written(exchange, exchange.answer())

    def _added(self, model_id: object) -> AddedModel | None:
        return self._added_models(self._vendor, model_id) if isinstance(model_id, str) else None

    def _attempt(self, key: str, body: Json) -> int:
        """Return how many times this key has asked exactly this, this time included."""
        asked = json.dumps([key, body.get("model"), body.get("messages")], sort_keys=True)
        digest = hashlib.sha256(asked.encode()).hexdigest()
        self._attempts[digest] = self._attempts.pop(digest, 0) + 1
        if len(self._attempts) > REMEMBERED_PROMPTS:
            self._attempts.popitem(last=False)
        return self._attempts[digest]

    def _close(self, call: Call, reply: Reply) -> None:
        self._ledger.close(
            call, status=reply.status, billed=reply.billed, generation=reply.generation
        )


def _body_or_nothing(request: Request) -> Json | None:
    try:
        body = request.json()
    except Refused:
        return None
    return body if isinstance(body, dict) else None


async def _pause(seconds: float) -> None:
    """Wait; an endless wait ends when the client leaves, which cancels the request."""
    if math.isinf(seconds):
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(seconds)
