"""Finds flaws for which Anthropic and OpenAI reject a JSON schema for structured outputs.

The vendors document more rules; these are the ones that a schema straight from pydantic breaks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from observatory.sandbox.web import Json

MAPS = ("properties", "$defs")
LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
LENGTHS = ("minLength", "maxLength")


def open_object(schema: Json) -> str | None:
    """Return the title of the first object that allows additional keys, or None."""
    for part in _parts(schema):
        if part.get("type") == "object" and part.get("additionalProperties") is not False:
            return _title(part)
    return None


def optional_property(schema: Json) -> str | None:
    """Return the name of the first property that its object does not require, or None."""
    for part in _parts(schema):
        required = part.get("required", ())
        for name in part.get("properties", {}):
            if name not in required:
                return str(name)
    return None


def constraint(schema: Json) -> str | None:
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
        inner = schema.get(key)
        for part in inner.values() if isinstance(inner, dict) else ():
            yield from _parts(part)
    for key in LISTS:
        inner = schema.get(key)
        for part in inner if isinstance(inner, list) else ():
            yield from _parts(part)
    yield from _parts(schema.get("items"))


def _title(schema: Json) -> str:
    return str(schema.get("title", "object"))
