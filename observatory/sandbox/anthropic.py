"""The stand-in for Anthropic's own API: messages and models; it reports no costs."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from observatory.sandbox import messages_api
from observatory.sandbox.catalogue import ANTHROPIC_MODELS, Model, find_listed
from observatory.sandbox.vendor import Asked, Vendor
from observatory.sandbox.web import Json, Refused, json_response

MAX_TOKENS = 64_000  # of an answer
KEY = re.compile(r"sk-ant-(?!.*revoked).{12,}")


class Anthropic(Vendor):
    """The API below `/anthropic/v1`."""

    name = "anthropic"
    chat_path = "/messages"
    written = staticmethod(messages_api.written)
    failure = staticmethod(messages_api.failure)

    def routes(self) -> list[BaseRoute]:
        """Return the route that lists the models."""
        return [Route("/models", self.list_models)]

    def key(self, request: Request) -> str:
        """Return the key in the header `x-api-key`, or ""."""
        return request.headers.get("x-api-key", "").strip()

    def admit(self, request: Request, body: Json) -> None:
        """Raise 401 for a bad key, 402 for a key without credit, 400 without a version header."""
        self._check_headers(request)
        if "nocredit" in self.key(request):
            raise Refused(402, "Your credit balance is too low to access the Anthropic API.")

    def model(self, model_id: object) -> Model:
        """Return the model with this id, dated or undated; raise `Refused` if there is none."""
        if not isinstance(model_id, str) or not model_id:
            raise Refused(400, "model: Field required")
        model = find_listed(ANTHROPIC_MODELS, model_id)
        if model is None:
            raise Refused(404, f"model: {model_id}")
        return model

    def asked(self, body: Json, model: Model) -> Asked:
        """Return the request's messages and schema; raise `Refused` if they are invalid."""
        asked = body.get("max_tokens")
        if isinstance(asked, int) and asked > MAX_TOKENS:
            raise Refused(
                400,
                f"max_tokens: {asked} > {MAX_TOKENS}, which is the maximum allowed number of"
                f" output tokens for {model.id}",
            )
        return Asked(
            messages=messages_api.conversation(body), schema=messages_api.wanted_schema(body)
        )

    async def list_models(self, request: Request) -> Response:
        """List the models; clients use this call to validate keys."""
        self._check_headers(request)
        listed = [_listed(model) for model in ANTHROPIC_MODELS]
        return json_response(
            {
                "data": listed,
                "has_more": False,
                "first_id": listed[0]["id"],
                "last_id": listed[-1]["id"],
            }
        )

    def _check_headers(self, request: Request) -> None:
        if not self.key(request):
            raise Refused(401, "x-api-key header is required")
        if not KEY.fullmatch(self.key(request)):
            raise Refused(401, "invalid x-api-key")
        if "anthropic-version" not in request.headers:
            raise Refused(400, "anthropic-version: header is required")


def _listed(model: Model) -> Json:
    date = model.served_as[-8:]
    return {
        "type": "model",
        "id": model.served_as,
        "display_name": model.name,
        "created_at": f"{date[:4]}-{date[4:6]}-{date[6:]}T00:00:00Z",
        "max_input_tokens": model.context_length,
        "max_tokens": MAX_TOKENS,
    }
