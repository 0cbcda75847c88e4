"""The stand-in for OpenRouter: keys, models, completions and what they cost.

Refuses what the real one refuses, in its words; then lets the requested model answer, or misbehave.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
from collections import OrderedDict

from observatory.sandbox.admission import (
    Unavailable,
    check_fit,
    check_key,
    requested_messages,
    requested_model,
    requested_schema,
)
from observatory.sandbox.catalogue import BY_ID, MODELS, find_model
from observatory.sandbox.completions import Exchange, Reply, completion, failure, stream
from observatory.sandbox.ledger import Call, Ledger
from observatory.sandbox.misbehaviours import AUTHOR, delay_s, misbehaviour
from observatory.sandbox.web import (
    Answer,
    Clock,
    EventStream,
    Handler,
    Json,
    Refused,
    Request,
    Response,
    Route,
    json_response,
)

CLIENT_LEFT = 499
REMEMBERED_PROMPTS = 10_000
FREE_LIMIT_USD = 100


class OpenRouter:
    """The routes below `/openrouter/api/v1`."""

    def __init__(self, *, ledger: Ledger, latency_s: float, clock: Clock) -> None:
        self._ledger = ledger
        self._latency_s = latency_s
        self._clock = clock
        self._attempts: OrderedDict[str, int] = OrderedDict()

    def routes(self) -> list[Route]:
        """Return what OpenRouter answers."""
        return [
            _route("POST", "chat/completions", self.complete),
            _route("GET", "models", self.models),
            _route("GET", "model/([^/]+/[^/]+)", self.model),
            _route("GET", "key", self.key),
            _route("GET", "generation", self.generation),
        ]

    async def complete(self, request: Request) -> Answer:
        """Answer a chat; the ledger knows of it before anybody else does."""
        key = _bearer(request)
        body = _body_or_nothing(request)
        call = self._ledger.open(
            path=request.path,
            key=key,
            headers=request.headers,
            body=body or {},
            size=len(request.body),
        )
        try:
            reply = await self._reply(call, key, body)
        except asyncio.CancelledError:
            self._close(call, Reply(status=CLIENT_LEFT, body={}))
            raise
        except Unavailable as error:
            reply = failure(error.status, error.text, availability=error.availability)
        except Refused as refusal:
            reply = failure(refusal.status, refusal.text)
        self._close(call, reply)
        if reply.status == 200 and body is not None and body.get("stream") is True:
            return EventStream(chunks=stream(reply.body), headers=reply.headers)
        return json_response(reply.body, status=reply.status, headers=reply.headers)

    async def models(self, request: Request) -> Response:
        """List the catalogue; needs no key."""
        listed = [model.as_payload() for model in MODELS]
        return json_response({"data": listed, "total_count": len(listed), "links": {"next": None}})

    async def model(self, request: Request, model_id: str) -> Response:
        """Show one model; aliases and variants resolve to what stands behind them."""
        model = find_model(model_id)
        if model is None:
            raise Refused(404, f"Model {model_id} not found")
        return json_response({"data": BY_ID[model.served_as].as_payload()})

    async def key(self, request: Request) -> Response:
        """Describe the key that asks: the call that validates keys."""
        key = _bearer(request)
        check_key(key)
        used = float(self._ledger.spent(key))
        limit = 0 if "nocredit" in key else FREE_LIMIT_USD
        return json_response({"data": _key_facts(key, used, limit)})

    async def generation(self, request: Request) -> Response:
        """Tell what one earlier answer cost, to the key that paid for it."""
        key = _bearer(request)
        check_key(key)
        generation_id = request.query.get("id", "")
        found = self._ledger.generation(generation_id, key=key)
        if found is None:
            raise Refused(404, f"Generation {generation_id} not found")
        return json_response({"data": found})

    async def _reply(self, call: Call, key: str, body: Json | None) -> Reply:
        check_key(key)
        if "nocredit" in key:
            raise Refused(402, "Insufficient credits. Add more and try again.")
        if body is None:
            raise Refused(400, "the body is not a JSON object")
        model = requested_model(body)
        exchange = Exchange(
            n=call.n,
            key=key,
            model=model,
            messages=requested_messages(body),
            schema=requested_schema(body, model),
            at=self._clock(),
            attempt=self._attempt(key, body) if model.id.startswith(AUTHOR) else 1,
        )
        check_fit(exchange, body)
        await _pause(self._latency_s + delay_s(model.id))
        reply = (misbehaviour(model.id) or completion)(exchange)
        if body.get("stream") and reply.status == 200 and not reply.body.get("choices"):
            raise Refused(400, f"{model.id} has no streamed form in the sandbox")
        return reply

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


def _route(method: str, path: str, handler: Handler) -> Route:
    return Route(
        methods=(method,),
        pattern=re.compile(f"/openrouter/api/v1/{path}"),
        handler=handler,
        render_error=_render_error,
        own_origin_only=False,
    )


def _render_error(status: int, text: str) -> Response:
    return json_response(failure(status, text).body, status=status)


def _bearer(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _body_or_nothing(request: Request) -> Json | None:
    try:
        body = request.json()
    except Refused:
        return None
    return body if isinstance(body, dict) else None


def _key_facts(key: str, used: float, limit: int) -> Json:
    period = {"daily": used, "weekly": used, "monthly": used}
    return {
        "label": f"{key[:12]}...{key[-3:]}",
        "limit": limit,
        "limit_remaining": max(limit - used, 0),
        "limit_reset": "monthly",
        "include_byok_in_limit": False,
        "usage": used,
        **{f"usage_{name}": value for name, value in period.items()},
        "byok_usage": 0,
        **{f"byok_usage_{name}": 0 for name in period},
        "is_free_tier": False,
        "is_management_key": False,
        "is_provisioning_key": False,
        "creator_user_id": "user_sandbox",
        "expires_at": None,
        "rate_limit": {
            "requests": 1000,
            "interval": "1h",
            "note": "This field is deprecated and safe to ignore.",
        },
    }


async def _pause(seconds: float) -> None:
    """Wait; an endless wait ends when the client leaves, which cancels the request."""
    if math.isinf(seconds):
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(seconds)
