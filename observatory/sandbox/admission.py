"""Validates requests to OpenRouter's stand-in: keys, models, messages, schemas, combinations.

Refusals have OpenRouter's own status and words. OpenAI's conversations and response formats are the
same, so its stand-in uses those functions too.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from starlette.requests import Request

from observatory.sandbox.catalogue import Model, find_model
from observatory.sandbox.exchange import images_in
from observatory.sandbox.vendor import requested_limit
from observatory.sandbox.web import Json, Refused

AFFORDS = re.compile(r"afford(\d{1,6})")
MAX_TOKENS = 65_536
MILLION = 1_000_000
KEY = re.compile(r"sk-or-v1-(?!.*revoked).{12,}")  # a key with "revoked" in it is refused


def bearer(request: Request) -> str:
    """Return the bearer token in the Authorization header, or ""."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def check_key(key: str) -> None:
    """Raise the 401 for a missing or malformed key."""
    if not key:
        raise Refused(401, "Missing Authentication header")
    if not KEY.fullmatch(key):
        raise Refused(401, "No auth credentials found")


def requested_model(model_id: object) -> Model:
    """Return the requested model; raise the 400 if it is missing or unknown."""
    if not isinstance(model_id, str) or not model_id:
        raise Refused(400, "No models provided")
    model = find_model(model_id)
    if model is None:
        raise Refused(400, f"{model_id} is not a valid model ID")
    return model


def requested_messages(body: Json) -> list[Json]:
    """Return the request's messages; raise the 400 if they are missing or malformed."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused(400, 'Input required: specify "messages"')
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Refused(400, "messages: each needs a role and content")
        content = message.get("content")
        if isinstance(content, list) and not all(isinstance(part, dict) for part in content):
            raise Refused(400, "messages: each part of a content must be an object")
    return messages


def requested_schema(body: Json) -> Json | None:
    """Return the schema in the response format, or None; raise the 400 if it is malformed."""
    response_format = body.get("response_format") or {}
    if not isinstance(response_format, dict):
        raise Refused(400, "response_format must be an object")
    if response_format.get("type") == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}}
    if response_format.get("type") != "json_schema":
        return None
    described = response_format.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    if not isinstance(schema, dict):
        raise Refused(400, "response_format.json_schema.schema must be an object")
    return schema


def check_credit(key: str, body: Json) -> None:
    """Raise the 402 for more tokens than the key affords: 900 if `afford900` is in the key."""
    affords = AFFORDS.search(key)
    asked = requested_limit(body)
    if affords is None or (asked is not None and asked <= int(affords[1])):
        return
    raise Refused(
        402,
        "This request requires more credits, or fewer max_tokens. You requested up to"
        f" {asked or MAX_TOKENS} tokens, but can only afford {affords[1]}. To increase, visit"
        " https://openrouter.ai/settings/credits and upgrade to a paid account",
    )


def check_price(model: Model, body: Json) -> None:
    """Raise the 404 for a model that costs more than `provider.max_price` allows."""
    routing = body.get("provider")
    most = routing.get("max_price") if isinstance(routing, dict) else None
    if not isinstance(most, dict):
        return
    for name, price in (("prompt", model.prompt), ("completion", model.completion)):
        try:
            is_above = Decimal(price) * MILLION > Decimal(str(most.get(name, "Infinity")))
        except InvalidOperation as error:
            raise Refused(400, f"provider.max_price.{name} must be a number") from error
        if is_above:
            raise Refused(404, f"No endpoints found for {model.id}.")


def check_fit(model: Model, messages: list[Json], body: Json) -> None:
    """Raise the 404 for a model that lacks image input or parameters that the request needs."""
    if images_in(messages) and "image" not in model.inputs:
        raise Refused(404, "No endpoints found that support image input")
    provider = body.get("provider") or {}
    must_fit = isinstance(provider, dict) and provider.get("require_parameters") is True
    if must_fit and body.get("response_format") and "response_format" not in model.parameters:
        raise Refused(
            404,
            "No endpoints found that can handle the requested parameters.",
            availability={
                "code": "constraint_filtered",
                "retryable": False,
                "retry_after": None,
                "requested_models": [model.id],
                "fallback_models": ["anthropic/claude-haiku-4.5", "openai/gpt-5-mini"],
                "constraint": {"field": "response_format", "detail": "not supported"},
            },
        )
