"""What Anthropic and OpenAI demand of a schema before a model is held to it.

The vendors' documentation lists more; these are the demands that a schema straight out of pydantic
fails.
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
    """Return the title of an object that does not forbid further keys."""
    for part in _parts(schema):
        if part.get("type") == "object" and part.get("additionalProperties") is not False:
            return _title(part)
    return None


def optional_property(schema: Json) -> str | None:
    """Return a property that an object has and does not require."""
    for part in _parts(schema):
        required = part.get("required", ())
        for name in part.get("properties", {}):
            if name not in required:
                return str(name)
    return None


def constraint(schema: Json) -> str | None:
    """Return a bound of a number or of a text's length."""
    return next(
        (name for part in _parts(schema) for name in (*BOUNDS, *LENGTHS) if name in part), None
    )


def _parts(schema: Any) -> Iterator[Json]:
    """Yield the schema and all that are written inside it."""
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
