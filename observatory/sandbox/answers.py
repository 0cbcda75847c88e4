"""An answer that validates against the JSON schema a caller asked for, and reads like advice.

Covers the keywords that pydantic emits: type, properties, required, items, prefixItems, enum,
const, anyOf, oneOf, allOf, $ref, lengths, bounds, multipleOf and the common formats; not `pattern`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from observatory.sandbox.numbers import number
from observatory.sandbox.phrases import (
    ITEMS,
    PADDING,
    USUAL_ITEMS,
    Reading,
    phrase,
    plain_answer,
    shorten,
)
from observatory.sandbox.web import Json, Refused

MAX_DEPTH = 60
SIGNED_FIRST = ("analysis", "feedback", "summary", "strategy")
FORMATS = {
    "date": "2026-01-15",
    "date-time": "2026-01-15T09:30:00Z",
    "time": "09:30:00Z",
    "email": "coach@example.com",
    "uri": "https://example.com/",
    "uuid": "6f1c1e0a-6d5b-4c8e-9b1a-2f4d5e6a7b8c",
}
Path = tuple[str | int, ...]


def answer(schema: Json | None, reading: Reading, model_id: str) -> str:
    """Return what `model_id` says about the message: JSON by `schema`, or prose without one.

    Raises:
        Refused: no value can satisfy the schema, or it is not a schema.
    """
    if schema is None:
        return plain_answer(reading, model_id)
    writer = _Writer(schema, reading)
    try:
        value = writer.value(schema, (), ())
    except (TypeError, ValueError, AttributeError, ArithmeticError, LookupError) as error:
        raise Refused(400, f"invalid schema in response_format: {error!r}") from error
    return json.dumps(_signed(value, writer.slots, reading, model_id), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the answer that holds free text."""

    path: Path
    text: str
    min_length: int
    max_length: int | None

    @property
    def name(self) -> str:
        """The property that holds it."""
        return _name(self.path)


class _Writer:
    """Walks a schema and remembers where free text went."""

    def __init__(self, root: Json, reading: Reading) -> None:
        self._root = root
        self._reading = reading
        self.slots: list[Slot] = []

    def value(self, schema: Json | bool, path: Path, refs: tuple[str, ...]) -> Any:
        """Return a value for `schema`; a reference met again on the way down asks for little."""
        if len(path) + len(refs) > MAX_DEPTH:
            raise ValueError("the schema has no end")
        schema, refs = self._resolved(schema, refs)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][_index(path) % len(schema["enum"])]
        match _type(schema):
            case "object":
                return self._object(schema, path, refs)
            case "array":
                return self._array(schema, path, refs)
            case "integer" | "number" as kind:
                return number(schema, is_integer=kind == "integer", index=_index(path))
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self._string(schema, path)

    def _resolved(self, schema: Json | bool, refs: tuple[str, ...]) -> tuple[Json, tuple[str, ...]]:
        """Return the schema with one choice for its references, unions and intersections."""
        while True:
            if not isinstance(schema, dict):
                schema = {}
            rest = dict(schema)
            if "$ref" in schema:
                refs = (*refs, rest.pop("$ref"))
                if len(refs) > MAX_DEPTH:
                    raise ValueError("the references have no end")
                schema = self._target(refs[-1]) | rest
            elif branches := rest.pop("anyOf", None) or rest.pop("oneOf", None):
                schema = rest | _branch(branches, refs)
            elif parts := rest.pop("allOf", None):
                schema = _intersection([*parts, rest])
            else:
                return schema, refs

    def _target(self, reference: str) -> Json:
        target: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
            target = target[step.replace("~1", "/").replace("~0", "~")]
        if not isinstance(target, dict):
            raise TypeError(f"{reference} is not a schema")
        return target

    def _object(self, schema: Json, path: Path, refs: tuple[str, ...]) -> Json:
        properties = schema.get("properties", {})
        required = schema.get("required", ())
        names = required if _is_recursive(refs) else (*properties, *required)
        return {
            name: self.value(properties.get(name, {}), (*path, name), refs)
            for name in dict.fromkeys(names)
        }

    def _array(self, schema: Json, path: Path, refs: tuple[str, ...]) -> list[Any]:
        least = schema.get("minItems", 0)
        prefix = schema.get("prefixItems", [])
        usual = 0 if _is_recursive(refs) else ITEMS.get(_name(path), USUAL_ITEMS)
        if prefix and schema.get("items", True) in (True, False):
            usual = len(prefix)
        count = min(max(least, usual, len(prefix)), schema.get("maxItems", math.inf))
        values: list[Any] = []
        for index in range(int(count)):
            item = prefix[index] if index < len(prefix) else schema.get("items", {})
            value = self.value(item, (*path, index), refs)
            if schema.get("uniqueItems") and value in values and len(values) >= least:
                break
            values.append(value)
        return values

    def _string(self, schema: Json, path: Path) -> str:
        if schema.get("format") in FORMATS:
            return FORMATS[schema["format"]]
        hint = schema.get("description") or schema.get("title") or ""
        text = phrase(_name(path), hint, _index(path), self._reading)
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        text = _fitted(text, least=least, most=most)
        self.slots.append(Slot(path, text, least, most))
        return text


def _type(schema: Json) -> str:
    """Return the type a schema names, or the one that its other keywords are about."""
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((name for name in kind if name != "null"), "null")
    if kind is not None:
        return str(kind)
    if not schema.keys().isdisjoint(("properties", "required")):
        return "object"
    return "string" if schema.keys().isdisjoint(("items", "prefixItems")) else "array"


def _branch(branches: list[Json], refs: tuple[str, ...]) -> Json:
    """Return the first branch that says something, or the shortest way out of a recursion."""
    if _is_recursive(refs):
        nulls = [branch for branch in branches if branch.get("type") == "null"]
        fresh = [branch for branch in branches if branch.get("$ref") not in refs]
        return (nulls + fresh + branches)[0]
    return next((branch for branch in branches if branch.get("type") != "null"), branches[0])


def _intersection(parts: list[Json]) -> Json:
    merged: Json = {}
    for part in parts:
        properties = merged.get("properties", {}) | part.get("properties", {})
        required = [*merged.get("required", ()), *part.get("required", ())]
        merged = merged | part
        if properties:
            merged["properties"] = properties
        if required:
            merged["required"] = required
    return merged


def _is_recursive(refs: tuple[str, ...]) -> bool:
    return len(set(refs)) < len(refs)


def _name(path: Path) -> str:
    return next((step for step in reversed(path) if isinstance(step, str)), "")


def _index(path: Path) -> int:
    return next((step for step in reversed(path) if isinstance(step, int)), 0)


def _fitted(text: str, *, least: int, most: int | None) -> str:
    while len(text) < least:
        text += PADDING
    if most is None:
        return text
    short = shorten(text, most)
    return short if len(short) >= least else text[:most]


def _signed(value: Any, slots: list[Slot], reading: Reading, model_id: str) -> Any:
    """Return the answer with its author's name, and with the quote if no field has it yet."""
    note = f" (answered by {model_id})"
    if not any(reading.quote in slot.text for slot in slots):
        note = f" “{reading.quote}”{note}"
    chosen = _signature_slot(slots, len(note))
    if chosen is None:
        return value
    room = None if chosen.max_length is None else chosen.max_length - len(note)
    text = _fitted(chosen.text, least=chosen.min_length - len(note), most=room)
    return _replaced(value, chosen.path, text + note)


def _signature_slot(slots: list[Slot], needed: int) -> Slot | None:
    roomy = [slot for slot in slots if slot.max_length is None or slot.max_length >= needed]
    for name in SIGNED_FIRST:
        for slot in roomy:
            if slot.name == name:
                return slot
    return max(roomy, key=lambda slot: len(slot.text), default=None)


def _replaced(value: Any, path: Path, text: str) -> Any:
    if not path:
        return text
    target = value
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = text
    return value
