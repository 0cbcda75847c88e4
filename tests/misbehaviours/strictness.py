"""Requests that a vendor refuses and a sound client never sends, and keys that afford little.

The vendors document more rules for schemas; these are the ones that a schema straight from pydantic
breaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from observatory.sandbox.anthropic import MAX_TOKENS as ANTHROPIC_MAX_TOKENS
from observatory.sandbox.exchange import Exchange
from observatory.sandbox.web import Json, Refused

AFFORDS = re.compile(r"afford(\d{1,6})")
OPENROUTER_MAX_TOKENS = 65_536
MILLION = 1_000_000
REASONING_MODELS = ("gpt-5-mini", "o4-mini")
MAPS = ("properties", "$defs")
LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
LENGTHS = ("minLength", "maxLength")


def check(vendor: str, exchange: Exchange, body: Json) -> None:
    """Raise `Refused` for what this vendor refuses."""
    match vendor:
        case "openrouter":
            _check_credit(exchange)
            _check_price(exchange, body)
        case "anthropic":
            _check_anthropic(exchange)
        case _:
            _check_reasoning_parameters(exchange, body)
            _check_strict_schema(exchange, body)


def _check_credit(exchange: Exchange) -> None:
    """Raise the 402 for more tokens than the key affords: 900 if `afford900` is in the key."""
    affords, asked = AFFORDS.search(exchange.key), exchange.max_tokens or OPENROUTER_MAX_TOKENS
    if affords is not None and asked > int(affords[1]):
        raise Refused(
            402,
            "This request requires more credits, or fewer max_tokens. You requested up to"
            f" {asked} tokens, but can only afford {affords[1]}. To increase, visit"
            " https://openrouter.ai/settings/credits and upgrade to a paid account",
        )


def _check_price(exchange: Exchange, body: Json) -> None:
    """Raise the 404 for a model that costs more than `provider.max_price` allows."""
    model, most = exchange.model, body.get("provider", {}).get("max_price", {})
    for name, price in (("prompt", model.prompt), ("completion", model.completion)):
        try:
            is_above = Decimal(price) * MILLION > Decimal(str(most.get(name, "Infinity")))
        except InvalidOperation as error:
            raise Refused(400, f"provider.max_price.{name} must be a number") from error
        if is_above:
            raise Refused(404, f"No endpoints found for {model.id}.")


def _check_anthropic(exchange: Exchange) -> None:
    """Raise the 400 for too many tokens, or for a schema that Anthropic cannot enforce."""
    asked, flaw = exchange.max_tokens or 0, None
    if asked > ANTHROPIC_MAX_TOKENS:
        raise Refused(
            400,
            f"max_tokens: {asked} > {ANTHROPIC_MAX_TOKENS}, which is the maximum allowed number of"
            f" output tokens for {exchange.model.id}",
        )
    if _has_open_object(exchange.schema):
        flaw = "For 'object' type, 'additionalProperties' must be explicitly set to false"
    elif name := _constraint(exchange.schema):
        flaw = f"property '{name}' is not supported"
    if flaw:
        raise Refused(400, f"output_config.format.schema: {flaw}")


def _check_reasoning_parameters(exchange: Exchange, body: Json) -> None:
    if exchange.model.id not in REASONING_MODELS:
        return
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


def _check_strict_schema(exchange: Exchange, body: Json) -> None:
    """Raise the 400 for a schema that OpenAI's strict mode does not accept."""
    described = body.get("response_format", {}).get("json_schema", {})
    if described.get("strict") is not True:
        return
    flaw = None
    if _has_open_object(exchange.schema):
        flaw = "'additionalProperties' is required to be supplied and to be false."
    elif name := _optional_property(exchange.schema):
        flaw = f"'required' is required to include every key in properties. Missing '{name}'."
    if flaw:
        text = f"Invalid schema for response_format {described.get('name')!r}: In context=(), "
        raise Refused(400, text + flaw, param="response_format")


def _has_open_object(schema: Json | None) -> bool:
    return any(
        part.get("type") == "object" and part.get("additionalProperties") is not False
        for part in _parts(schema)
    )


def _optional_property(schema: Json | None) -> str | None:
    """Return the name of the first property that its object does not require, or None."""
    for part in _parts(schema):
        for name in part.get("properties", {}):
            if name not in part.get("required", ()):
                return str(name)
    return None


def _constraint(schema: Json | None) -> str | None:
    """Return the name of the first bound on a number or on a text's length, or None."""
    return next(
        (name for part in _parts(schema) for name in (*BOUNDS, *LENGTHS) if name in part), None
    )


def _parts(schema: Any) -> Iterator[Json]:
    """Yield the schema and all schemas nested in it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in MAPS:
        for part in schema.get(key, {}).values():
            yield from _parts(part)
    for key in LISTS:
        for part in schema.get(key, ()):
            yield from _parts(part)
    yield from _parts(schema.get("items"))
