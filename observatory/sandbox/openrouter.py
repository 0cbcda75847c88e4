"""The stand-in for OpenRouter: keys, models, completions and their costs.

It refuses what OpenRouter refuses, in the same words; otherwise the requested model answers, or
misbehaves.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

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
from observatory.sandbox.extension import Extension
from observatory.sandbox.ledger import Ledger
from observatory.sandbox.offers import Offers
from observatory.sandbox.vendor import Asked, Vendor
from observatory.sandbox.web import Json, Refused, json_response

FREE_LIMIT_USD = 100


class OpenRouter(Vendor):
    """The API below `/openrouter/api/v1`."""

    name = "openrouter"
    root = "/openrouter/api/v1"
    written = staticmethod(written)
    failure = staticmethod(failure)

    def __init__(
        self, *, ledger: Ledger, latency_s: float, extension: Extension, offers: Offers
    ) -> None:
        super().__init__(ledger=ledger, latency_s=latency_s, extension=extension)
        self._offers = offers

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the catalog, of keys and of generations."""
        return [
            Route("/models", self.list_models),
            Route("/models/{model_id:path}/endpoints", self.list_endpoints),
            Route("/model/{model_id:path}", self.show_model),
            Route("/key", self.show_key),
            Route("/generation", self.show_generation),
        ]

    def key(self, request: Request) -> str:
        """Return the bearer token."""
        return bearer(request)

    def admit(self, request: Request, body: Json) -> None:
        """Raise the 401 for a bad key, the 402 for a key without enough credit."""
        if "nocredit" in self._checked(request):
            raise Refused(402, "Insufficient credits. Add more and try again.")
        check_credit(bearer(request), body)

    def model(self, model_id: object) -> Model:
        """Return the catalog's model at its current price; raise `Refused` if it isn't offered."""
        model = requested_model(model_id)
        self._offers.check(model)
        return self._offers.priced(model)

    def asked(self, body: Json, model: Model) -> Asked:
        """Return messages and schema; a model without structured outputs gets no schema."""
        messages, schema = requested_messages(body), requested_schema(body)
        check_fit(model, messages, body)
        check_price(model, body)
        can_follow = "structured_outputs" in model.parameters
        return Asked(messages=messages, schema=schema if can_follow else None)

    async def list_models(self, request: Request) -> Response:
        """List the catalog; needs no key."""
        listed = self._offers.listed()
        return json_response({"data": listed, "total_count": len(listed), "links": {"next": None}})

    async def list_endpoints(self, request: Request) -> Response:
        """List the providers that serve one model; needs no key."""
        return json_response({"data": self._offers.endpoints(request.path_params["model_id"])})

    async def show_model(self, request: Request) -> Response:
        """Show one model; aliases and variants resolve to their model."""
        return json_response({"data": self._offers.described(request.path_params["model_id"])})

    async def show_key(self, request: Request) -> Response:
        """Describe the request's key; clients use this call to validate keys."""
        key = self._checked(request)
        used = float(self._ledger.spent(key))
        limit = 0 if "nocredit" in key else FREE_LIMIT_USD
        return json_response({"data": _key_facts(key, used, limit)})

    async def show_generation(self, request: Request) -> Response:
        """Show the cost of an earlier answer, only to the key that paid for it."""
        key = self._checked(request)
        generation_id = request.query_params.get("id", "")
        found = self._ledger.generation(generation_id, key=key)
        if found is None:
            raise Refused(404, f"Generation {generation_id} not found")
        return json_response({"data": found})

    def _checked(self, request: Request) -> str:
        key = bearer(request)
        check_key(key)
        return key


def _key_facts(key: str, used: float, limit: int) -> Json:
    return {
        "label": f"{key[:12]}...{key[-3:]}",
        "limit": limit,
        "limit_remaining": max(limit - used, 0),
        "limit_reset": "monthly",
        "usage": used,
        "is_free_tier": False,
        "expires_at": None,
    }
