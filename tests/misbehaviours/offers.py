"""The tests' hold on what the stand-in for OpenRouter offers.

The real server has no `/openrouter/withdrawn`: `POST {"id": …}` takes a model out of the list, and
`DELETE` brings all of them back. Asked for all the same, a withdrawn model is refused as a retired
one. Nor has it `/openrouter/prices`: `POST {"id": …, "prompt": "…", "completion": "…"}` changes a
price, and `DELETE` undoes that.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from observatory.sandbox.catalogue import BY_ID
from observatory.sandbox.extension import Parts
from observatory.sandbox.offers import Offers
from observatory.sandbox.web import Json, json_object, json_response


class OfferControls:
    """Answers the tests' routes."""

    def __init__(self) -> None:
        self._offers: Offers

    def routes(self, parts: Parts) -> list[BaseRoute]:
        """Return what only tests ask."""
        self._offers = parts.offers
        return [
            Route("/openrouter/withdrawn", self.withdraw, methods=["POST"]),
            Route("/openrouter/withdrawn", self.bring_back, methods=["DELETE"]),
            Route("/openrouter/prices", self.reprice, methods=["POST"]),
            Route("/openrouter/prices", self.restore_prices, methods=["DELETE"]),
        ]

    async def withdraw(self, request: Request) -> Response:
        """Take a model out of the list."""
        self._offers.withdrawn.add((await _of_a_listed_model(request))["id"])
        return json_response({"withdrawn": sorted(self._offers.withdrawn)})

    async def bring_back(self, request: Request) -> Response:
        """Offer all models again."""
        self._offers.withdrawn.clear()
        return json_response({"withdrawn": []})

    async def reprice(self, request: Request) -> Response:
        """Change what a model costs, in dollars per token as on the wire."""
        asked = await _of_a_listed_model(request)
        model_id = asked.pop("id")
        self._offers.prices[model_id] = {name: str(price) for name, price in asked.items()}
        return json_response({"prices": self._offers.prices})

    async def restore_prices(self, request: Request) -> Response:
        """Let all models cost what they did."""
        self._offers.prices.clear()
        return json_response({"prices": {}})


async def _of_a_listed_model(request: Request) -> Json:
    body = await json_object(request)
    assert body["id"] in BY_ID
    return body
