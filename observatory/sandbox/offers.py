"""Which models the stand-in for OpenRouter offers at the moment, and the test's handle on that.

The real server has no `/openrouter/withdrawn`: `POST {"id": …}` takes a model out of the list,
and `DELETE` brings all of them back. Asked for all the same, a withdrawn model is refused as a
retired one. Nor has it `/openrouter/prices`: `POST {"id": …, "prompt": "…", "completion": "…"}`
changes a price, and `DELETE` undoes that.
"""

from __future__ import annotations

import re
from dataclasses import replace

from observatory.sandbox.catalogue import BY_ID, MODELS, Model, find_model
from observatory.sandbox.vendor import Rejected
from observatory.sandbox.web import (
    Clock,
    Handler,
    Json,
    Refused,
    Request,
    Response,
    Route,
    json_response,
    plain_error,
)


class Offers:
    """The catalogue without what was withdrawn."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._withdrawn: set[str] = set()
        self._prices: dict[str, dict[str, str]] = {}

    def routes(self) -> list[Route]:
        """Return what only the sandbox answers."""
        return [
            _route("POST", "withdrawn", self.withdraw),
            _route("DELETE", "withdrawn", self.bring_back),
            _route("POST", "prices", self.reprice),
            _route("DELETE", "prices", self.restore_prices),
        ]

    def priced(self, model: Model) -> Model:
        """Return the model at the price that it has now."""
        changed = self._prices.get(model.id, {})
        return replace(
            model,
            prompt=changed.get("prompt", model.prompt),
            completion=changed.get("completion", model.completion),
        )

    def listed(self) -> list[Json]:
        """Return the entries of `/models`."""
        now = self._clock()
        return [
            self.priced(model).as_payload(at=now)
            for model in MODELS
            if model.id not in self._withdrawn
        ]

    def described(self, model_id: str) -> Json:
        """Return one entry; aliases and variants resolve to what stands behind them."""
        model = BY_ID[self._found(model_id).served_as]
        return self.priced(model).as_payload(at=self._clock())

    def endpoints(self, model_id: str) -> Json:
        """Return who serves a model."""
        return self._found(model_id).as_endpoints()

    def check(self, model: Model) -> None:
        """Raise the 404 for a model that has been withdrawn."""
        if model.id in self._withdrawn:
            raise Rejected(
                404,
                f"{model.id} is no longer available",
                availability={
                    "code": "model_deprecated",
                    "retryable": False,
                    "retry_after": None,
                    "requested_models": [model.id],
                    "fallback_models": [],
                },
            )

    async def withdraw(self, request: Request) -> Response:
        """Take a model out of the list."""
        model_id = request.json_object().get("id")
        if not isinstance(model_id, str) or model_id not in BY_ID:
            raise Refused(400, "id must be the id of a model in the list")
        self._withdrawn.add(model_id)
        return json_response({"withdrawn": sorted(self._withdrawn)})

    async def bring_back(self, request: Request) -> Response:
        """Offer all models again."""
        self._withdrawn.clear()
        return json_response({"withdrawn": []})

    async def reprice(self, request: Request) -> Response:
        """Change what a model costs, in dollars per token as on the wire."""
        asked = request.json_object()
        model_id = asked.pop("id", None)
        if not isinstance(model_id, str) or model_id not in BY_ID:
            raise Refused(400, "id must be the id of a model in the list")
        if not asked.keys() <= {"prompt", "completion"}:
            raise Refused(400, "prompt and completion are the prices of a model")
        self._prices[model_id] = {name: str(price) for name, price in asked.items()}
        return json_response({"prices": self._prices})

    async def restore_prices(self, request: Request) -> Response:
        """Let all models cost what they did."""
        self._prices.clear()
        return json_response({"prices": {}})

    def _found(self, model_id: str) -> Model:
        model = find_model(model_id)
        if model is None or model.id in self._withdrawn:
            raise Refused(404, f"Model {model_id} not found")
        return model


def _route(method: str, name: str, handler: Handler) -> Route:
    return Route(
        methods=(method,),
        pattern=re.compile(f"/openrouter/{name}"),
        handler=handler,
        render_error=plain_error,
        own_origin_only=True,
    )
