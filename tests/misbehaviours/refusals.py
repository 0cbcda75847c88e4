"""Models that refuse a request as it should be sent, and take it once it is changed: any vendor's.

The words are those of upstream vendors; none of it is billed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from observatory.sandbox.exchange import Exchange, Reply, WireFormat, text_of
from observatory.sandbox.web import Json

FEWEST_TOKENS = 900
SCHEMA = (
    'Invalid JSON payload received. Unknown name "additionalProperties" at'
    " 'generation_config.response_schema': Cannot find field."
)
ROLE = "Unsupported value: 'messages[0].role' does not support 'system' with this model."

Refusing = Callable[[WireFormat, Exchange], Reply]


def _sound(vendor: WireFormat, exchange: Exchange) -> Reply:
    return vendor.written(exchange, exchange.answer())


def _no_schema(vendor: WireFormat, exchange: Exchange) -> Reply:
    if exchange.schema is not None:
        return vendor.failure(400, SCHEMA)
    return _sound(vendor, replace(exchange, schema=_schema_in_words(exchange)))


def _schema_in_words(exchange: Exchange) -> Json | None:
    """Return the schema that the instructions quote, which this model follows all the same."""
    for message in exchange.messages:
        _, mark, rest = text_of(message).partition("JSON schema:\n")
        if mark:
            schema, _ = json.JSONDecoder().raw_decode(rest)
            return schema if isinstance(schema, dict) else None
    return None


def _no_system_role(vendor: WireFormat, exchange: Exchange) -> Reply:
    if any(message.get("role") == "system" for message in exchange.messages):
        return vendor.failure(400, ROLE)
    return _sound(vendor, exchange)


def _few_tokens(vendor: WireFormat, exchange: Exchange) -> Reply:
    if exchange.max_tokens is None or exchange.max_tokens > FEWEST_TOKENS:
        text = (
            f"max_tokens: {exchange.max_tokens} > {FEWEST_TOKENS}, which is the maximum allowed"
            f" number of output tokens for {exchange.model.id}"
        )
        return vendor.failure(400, text)
    return _sound(vendor, exchange)


REFUSALS: dict[str, Refusing] = {
    "no-schema": _no_schema,
    "no-system-role": _no_system_role,
    "few-tokens": _few_tokens,
}
