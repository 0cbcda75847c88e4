"""The sandbox as tests run it: misbehaving models, and routes to see and change it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from observatory.sandbox.calls import BotCall
from observatory.sandbox.catalogue import Model
from observatory.sandbox.exchange import Exchange, WireFormat
from observatory.sandbox.extension import AddedModel, Extension, Parts
from observatory.sandbox.openrouter import failure
from observatory.sandbox.vendor import bearer
from observatory.sandbox.web import Json, json_response
from tests.misbehaviours import misbehaving_model, strictness
from tests.misbehaviours.offers import Offers
from tests.misbehaviours.openrouter import LATE_GENERATION
from tests.misbehaviours.telegram import TelegramControls


class Misbehaving(Extension):
    """All that tests add to the sandbox; one for each app."""

    def __init__(self) -> None:
        self._telegram = TelegramControls()
        self._offers = Offers()
        self._asked_for: set[str] = set()
        self._attempts: Counter[str] = Counter()
        self._parts: Parts

    def offered(self, vendor: WireFormat, models: Sequence[Model]) -> Sequence[Model]:
        return self._offers.of(models)

    def model(self, vendor: WireFormat, model_id: str) -> AddedModel | None:
        self._offers.check(model_id)
        return misbehaving_model(vendor, model_id, self._attempts)

    def before_answer(self, vendor: WireFormat, exchange: Exchange, body: Json) -> None:
        strictness.check(vendor.name, exchange, body)

    def before_call(self, call: BotCall) -> None:
        self._telegram.before_call(call)

    def after_call(self, call: BotCall, result: Any) -> Any:
        return self._telegram.after_call(call, result)

    def routes(self, parts: Parts) -> list[BaseRoute]:
        self._parts = parts
        return [
            *self._telegram.routes(parts),
            *self._offers.routes(),
            Route("/openrouter/api/v1/generation", self.generation),
        ]

    async def generation(self, request: Request) -> Response:
        """Answer as the sandbox does, but at the first ask for what is stored late."""
        key, generation_id = bearer(request), request.query_params.get("id", "")
        if not key:
            return failure(401, "No auth credentials found").answer()
        found = self._parts.ledger.generation(generation_id, key=key)
        is_late = found is not None and found["model"] == LATE_GENERATION
        if found is None or (is_late and generation_id not in self._asked_for):
            self._asked_for.add(generation_id)
            return failure(404, f"Generation {generation_id} not found").answer()
        return json_response({"data": found})
