"""What the stand-in for OpenRouter offers, and at which prices, as tests change it.

The real server has no `/openrouter/withdrawn`: `POST {"id": …}` takes a model out of the list, and
`DELETE` brings all of them back. Asked for all the same, a withdrawn model is refused as a retired
one. Nor has it `/openrouter/prices`: `POST {"id": …, "prompt": "…", "completion": "…"}` changes a
price, and `DELETE` undoes that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from observatory.sandbox.catalogue import MODELS, Model, find_model
from observatory.sandbox.web import Json, Refused, json_object, json_response


class Offers:
    """The withdrawn models and the changed prices, by model id."""

    def __init__(self) -> None:
        self._withdrawn: set[str] = set()
        self._prices: dict[str, dict[str, str]] = {}

    def of(self, models: Sequence[Model]) -> list[Model]:
        """Return the models that are left, at today's prices."""
        return [
            replace(model, **self._prices.get(model.id, {}))  # type: ignore[arg-type]
            for model in models
            if model.id not in self._withdrawn
        ]

    def check(self, model_id: str) -> None:
        """Raise the 404 for a model that has been withdrawn."""
        model = find_model(model_id)
        if model is not None and model.id in self._withdrawn:
            raise Refused(
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

    def routes(self) -> list[BaseRoute]:
        """Return what only tests ask."""
        return [
            Route("/openrouter/withdrawn", self.withdraw, methods=["POST"]),
            Route("/openrouter/withdrawn", self.bring_back, methods=["DELETE"]),
            Route("/openrouter/prices", self.reprice, methods=["POST"]),
            Route("/openrouter/prices", self.restore_prices, methods=["DELETE"]),
        ]

    async def withdraw(self, request: Request) -> Response:
        """Take a model out of the list."""
        self._withdrawn.add((await _of_a_listed_model(request))["id"])
        return json_response({"withdrawn": sorted(self._withdrawn)})

    async def bring_back(self, request: Request) -> Response:
        """Offer all models again."""
        self._withdrawn.clear()
        return json_response({"withdrawn": []})

    async def reprice(self, request: Request) -> Response:
        """Change what a model costs, in dollars per token as on the wire."""
        asked = await _of_a_listed_model(request)
        model_id = asked.pop("id")
        self._prices[model_id] = {name: str(price) for name, price in asked.items()}
        return json_response({"prices": self._prices})

    async def restore_prices(self, request: Request) -> Response:
        """Let all models cost what they did."""
        self._prices.clear()
        return json_response({"prices": {}})


async def _of_a_listed_model(request: Request) -> Json:
    body = await json_object(request)
    assert body["id"] in {model.id for model in MODELS}
    return body
