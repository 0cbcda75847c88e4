"""The stand-in for OpenRouter: keys, models, completions and what they cost.

Refuses what the real one refuses, in its words; then lets the requested model answer, or misbehave.
"""

from __future__ import annotations

from typing import Any

from observatory.sandbox.admission import (
    bearer,
    check_credit,
    check_fit,
    check_key,
    check_price,
    requested_messages,
    requested_model,
    requested_schema,
)
from observatory.sandbox.catalogue import Model
from observatory.sandbox.completions import failure, written
from observatory.sandbox.desk import Desk
from observatory.sandbox.exchange import Exchange, Reply
from observatory.sandbox.ledger import Ledger
from observatory.sandbox.offers import Offers
from observatory.sandbox.vendor import AddedModels, Asked, vendor_route
from observatory.sandbox.web import (
    Clock,
    Json,
    Refused,
    Request,
    Response,
    Route,
    json_response,
)

FREE_LIMIT_USD = 100


class OpenRouter:
    """The routes below `/openrouter/api/v1`."""

    name = "openrouter"

    def __init__(
        self, *, ledger: Ledger, latency_s: float, clock: Clock, added_models: AddedModels
    ) -> None:
        self._ledger = ledger
        self._offers = Offers(clock=clock)
        self._desk = Desk(
            self,
            ledger=ledger,
            latency_s=latency_s,
            clock=clock,
            added_models=added_models,
        )

    def routes(self) -> list[Route]:
        """Return what OpenRouter answers."""
        root = "/openrouter/api/v1"
        return [
            vendor_route(self, "POST", f"{root}/chat/completions", self._desk.complete),
            vendor_route(self, "GET", f"{root}/models", self.list_models),
            vendor_route(
                self, "GET", f"{root}/models/([^/]+/[^/]+)/endpoints", self.list_endpoints
            ),
            vendor_route(self, "GET", f"{root}/model/([^/]+/[^/]+)", self.show_model),
            vendor_route(self, "GET", f"{root}/key", self.show_key),
            vendor_route(self, "GET", f"{root}/generation", self.show_generation),
            *self._offers.routes(),
        ]

    def key(self, request: Request) -> str:
        """Return the bearer token."""
        return bearer(request)

    def admit(self, request: Request) -> None:
        """Raise the 401 for a bad key, the 402 for one without credit."""
        if "nocredit" in self._checked(request):
            raise Refused(402, "Insufficient credits. Add more and try again.")
        check_credit(bearer(request), request.json_object())

    def model(self, model_id: object) -> Model:
        """Return the model of the catalogue."""
        model = requested_model(model_id)
        self._offers.check(model)
        return self._offers.priced(model)

    def asked(self, body: Json, model: Model) -> Asked:
        """Return what is asked; a model without structured outputs never sees the schema."""
        messages, schema = requested_messages(body), requested_schema(body)
        check_fit(model, messages, body)
        check_price(model, body)
        can_follow = "structured_outputs" in model.parameters
        return Asked(messages=messages, schema=schema if can_follow else None)

    def written(self, exchange: Exchange, text: str) -> Reply:
        """Return the full response around an answer's text."""
        return written(exchange, text)

    def failure(self, status: int, text: str, **details: Any) -> Reply:
        """Return OpenRouter's error."""
        return failure(status, text, **details)

    async def list_models(self, request: Request) -> Response:
        """List the catalogue; needs no key."""
        listed = self._offers.listed()
        return json_response({"data": listed, "total_count": len(listed), "links": {"next": None}})

    async def list_endpoints(self, request: Request, model_id: str) -> Response:
        """List who serves one model; needs no key."""
        return json_response({"data": self._offers.endpoints(model_id)})

    async def show_model(self, request: Request, model_id: str) -> Response:
        """Show one model; aliases and variants resolve to what stands behind them."""
        return json_response({"data": self._offers.described(model_id)})

    async def show_key(self, request: Request) -> Response:
        """Describe the key that asks: the call that validates keys."""
        key = self._checked(request)
        used = float(self._ledger.spent(key))
        limit = 0 if "nocredit" in key else FREE_LIMIT_USD
        return json_response({"data": _key_facts(key, used, limit)})

    async def show_generation(self, request: Request) -> Response:
        """Tell what one earlier answer cost, to the key that paid for it."""
        key = self._checked(request)
        generation_id = request.query.get("id", "")
        found = self._ledger.generation(generation_id, key=key)
        if found is None:
            raise Refused(404, f"Generation {generation_id} not found")
        return json_response({"data": found})

    def _checked(self, request: Request) -> str:
        key = bearer(request)
        check_key(key)
        return key


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
