"""The stand-in for OpenAI's own API: chat completions and models; it reports no costs.

Each other vendor with a compatible API has its own instance, with its own path and keys.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from observatory.sandbox import chat_api, strictness
from observatory.sandbox.admission import bearer, requested_messages, requested_schema
from observatory.sandbox.catalogue import CREATED, OPENAI_MODELS, Model, find_listed
from observatory.sandbox.vendor import Asked, Vendor
from observatory.sandbox.web import Json, Refused, json_response

KEYS = r"sk-(?!or-|ant-|.*revoked).{12,}"
QUOTA = "You exceeded your current quota, please check your plan and billing details."
REASONING_MODELS = ("gpt-5-mini", "o4-mini")


class OpenAi(Vendor):
    """The API below `/openai/v1`, or below another vendor's name."""

    written = staticmethod(chat_api.written)
    failure = staticmethod(chat_api.failure)

    def __init__(self, *, name: str = "openai", keys: str = KEYS, **shared: Any) -> None:
        super().__init__(**shared)
        self.name = name
        self._keys = re.compile(keys)

    def routes(self) -> list[BaseRoute]:
        """Return the route that lists the models."""
        return [Route("/models", self.list_models)]

    def key(self, request: Request) -> str:
        """Return the bearer token."""
        return bearer(request)

    def admit(self, request: Request, body: Json) -> None:
        """Raise the 401 for a bad key, the 429 for a key without credit."""
        _check_key(bearer(request), self._keys)
        if "nocredit" in bearer(request):
            raise Refused(429, QUOTA, type="insufficient_quota", code="insufficient_quota")

    def model(self, model_id: object) -> Model:
        """Return the model with this id, dated or undated; other vendors accept any id."""
        if not isinstance(model_id, str) or not model_id:
            raise Refused(400, "you must provide a model parameter")
        model = find_listed(OPENAI_MODELS, model_id)
        if model is None and self.name != "openai":  # its models are unknown here
            return replace(OPENAI_MODELS[0], id=model_id, alias_target=None)
        if model is None:
            raise Refused(
                404,
                f"The model `{model_id}` does not exist or you do not have access to it.",
                code="model_not_found",
            )
        return model

    def asked(self, body: Json, model: Model) -> Asked:
        """Return the request's messages and schema; raise `Refused` if they are invalid."""
        if model.id in REASONING_MODELS:
            _check_reasoning_parameters(body)
        messages, schema = requested_messages(body), requested_schema(body)
        if schema is not None:
            _check_strict(body["response_format"], schema)
        return Asked(messages=messages, schema=schema)

    async def list_models(self, request: Request) -> Response:
        """List the models; clients use this call to validate keys."""
        _check_key(bearer(request), self._keys)
        ids = [model_id for model in OPENAI_MODELS for model_id in (model.id, model.served_as)]
        listed = [
            {"id": model_id, "object": "model", "created": CREATED, "owned_by": "system"}
            for model_id in ids
        ]
        return json_response({"object": "list", "data": listed})


def _check_key(key: str, keys: re.Pattern[str]) -> None:
    if not key:
        raise Refused(
            401,
            "You didn't provide an API key. You need to provide your API key in an Authorization"
            " header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
        )
    if not keys.fullmatch(key):
        shown = f"{key[:3]}***{key[-4:]}" if len(key) >= 16 else "***"
        raise Refused(401, f"Incorrect API key provided: {shown}.")


def _check_reasoning_parameters(body: Json) -> None:
    if body.get("max_tokens") is not None:
        raise Refused(
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model."
            " Use 'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    if body.get("temperature") not in (None, 1):
        raise Refused(
            400,
            f"Unsupported value: 'temperature' does not support {body['temperature']} with this"
            " model. Only the default (1) value is supported.",
            param="temperature",
            code="unsupported_value",
        )


def _check_strict(response_format: Json, schema: Json) -> None:
    """Raise the 400 for a schema that strict mode does not accept."""
    described = response_format.get("json_schema", {})
    if described.get("strict") is not True:
        return
    flaw = ""
    if strictness.open_object(schema):
        flaw = "'additionalProperties' is required to be supplied and to be false."
    elif name := strictness.optional_property(schema):
        flaw = f"'required' is required to include every key in properties. Missing '{name}'."
    if flaw:
        raise Refused(
            400,
            f"Invalid schema for response_format {described.get('name')!r}: In context=(), {flaw}",
            param="response_format",
        )
