"""Convert JSON schemas to the dialect that vendors can enforce.

Vendors agree on a small dialect: every object closed, every property required, no defaults, and
few constraints. Constraints that vendors refuse are moved into the description, where the model
still reads them. The answer is validated against the pydantic model anyway.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_DROPPED = {"default", "discriminator"}
_TO_DESCRIPTION = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    "minLength", "maxLength", "pattern", "minItems", "maxItems", "uniqueItems",
)  # fmt: skip
_SCHEMA_MAPS = ("properties", "$defs")
_SCHEMA_LISTS = ("anyOf", "allOf", "prefixItems")


class SchemaTooOpen(ValueError):
    """The schema allows arbitrary keys in an object, which no vendor's strict mode can express."""


def strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema as OpenAI's strict mode requires it; a strict schema stays unchanged.

    Raises:
        SchemaTooOpen: an object in it allows arbitrary keys, such as a pydantic field
            `dict[str, int]`.
    """
    result = {key: value for key, value in schema.items() if key not in _DROPPED}
    if "oneOf" in result:  # pydantic's discriminated unions
        result["anyOf"] = result.pop("oneOf")
    for key, part in result.items():
        result[key] = _strict_part(key, part)
    _close_object(result)
    _describe_constraints(result)
    return _with_reference_alone(result)


def in_words(schema: Mapping[str, Any]) -> str:
    """Return an instruction to answer with JSON of the schema, for use without enforcement."""
    return (
        "Answer with one JSON value and nothing else: no explanation, no code fence. "
        "It must be valid against this JSON schema:\n" + json.dumps(schema, ensure_ascii=False)
    )


def name_of(schema: Mapping[str, Any]) -> str:
    """Return the schema's title with only the characters that vendors allow in a name."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", str(schema.get("title", "")))[:64] or "answer"


def _strict_part(key: str, part: Any) -> Any:
    if key in _SCHEMA_MAPS:
        return {name: strict(each) for name, each in part.items()}
    if key in _SCHEMA_LISTS:
        return [strict(each) for each in part]
    return strict(part) if key == "items" and isinstance(part, Mapping) else part


def _close_object(schema: dict[str, Any]) -> None:
    if schema.get("type") != "object":
        return
    if schema.get("additionalProperties") not in (None, False):
        raise SchemaTooOpen(
            f"{schema.get('title', 'an object')!r} has free keys: make it a list of pairs"
        )
    schema.setdefault("properties", {})
    schema["additionalProperties"] = False
    schema["required"] = list(schema["properties"])


def _describe_constraints(schema: dict[str, Any]) -> None:
    found = [f"{key}: {schema.pop(key)}" for key in _TO_DESCRIPTION if key in schema]
    if found:
        described = schema.get("description", "")
        schema["description"] = f"{described} ({', '.join(found)})".strip()


def _with_reference_alone(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with its `$ref` moved into `anyOf` if it has siblings.

    Strict mode refuses other members next to `$ref`.
    """
    if "$ref" not in schema or len(schema) == 1:
        return schema
    reference = schema.pop("$ref")
    return {**schema, "anyOf": [{"$ref": reference}]}
