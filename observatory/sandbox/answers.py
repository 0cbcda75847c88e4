"""Writes answers that read like advice and validate against the requested JSON schema.

Supports what the agents' schemas contain: type, properties, items, enum, const, anyOf, $ref, array
lengths, text lengths, and bounds of numbers, which strict schemas state in their descriptions.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from observatory.sandbox.phrases import (
    ITEMS,
    PADDING,
    Reading,
    learnt,
    phrase,
    plain_answer,
    shorten,
)
from observatory.sandbox.styles import Style, style_of
from observatory.sandbox.web import Json, Refused

MAX_DEPTH = 30
SIGNED_FIRST = ("analysis", "feedback", "summary", "strategy")
BOUND = re.compile(r"\b(minimum|maximum): (-?\d+)")
SHARES = (0.7, 0.6, 0.8)  # of a number's range, in turn for the items of a list
Path = tuple[str | int, ...]


def answer(schema: Json | None, reading: Reading, model_id: str) -> str:
    """Return `model_id`'s answer to the message: JSON by `schema`, or prose without a schema.

    Raises:
        Refused: the schema is invalid, or recursive without an end.
    """
    style = style_of(model_id)
    if schema is None:
        return f"{plain_answer(reading, style)} (answered by {model_id})"
    writer = _Writer(schema, reading, style)
    try:
        value = writer.value(schema, ())
    except (TypeError, ValueError, AttributeError, ArithmeticError, LookupError) as error:
        raise Refused(400, f"invalid schema in response_format: {error!r}") from error
    return json.dumps(_signed(value, writer.slots, reading, model_id), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the answer that contains free text."""

    path: Path
    text: str
    max_length: int | None


class _Writer:
    """Builds a value for a schema, and records in `slots` where it wrote free text."""

    def __init__(self, root: Json, reading: Reading, style: Style) -> None:
        self._root = root
        self._reading = reading
        self._style = style
        self.slots: list[Slot] = []

    def value(self, schema: Json, path: Path) -> Any:
        """Return a value for `schema`."""
        schema = self._resolved(schema, path)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][_index(path) % len(schema["enum"])]
        match schema.get("type", "object" if "properties" in schema else "string"):
            case "object":
                properties = schema.get("properties", {})
                return {name: self.value(part, (*path, name)) for name, part in properties.items()}
            case "array":
                return self._array(schema, path)
            case "integer" | "number":
                return _number(schema, _index(path))
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self._string(schema, path)

    def _resolved(self, schema: Json, path: Path) -> Json:
        """Return the schema with `$ref` followed and `anyOf` replaced by a branch.

        The branch is the first that is not `null`, as in optional values.
        """
        for _ in range(MAX_DEPTH - len(path)):
            if "$ref" in schema:
                target: Any = self._root
                for step in schema["$ref"].removeprefix("#").strip("/").split("/"):
                    target = target[step]
                schema = target | {key: part for key, part in schema.items() if key != "$ref"}
            elif "anyOf" in schema:
                branches = schema["anyOf"]
                schema = next((one for one in branches if one.get("type") != "null"), branches[0])
            else:
                return schema
        raise ValueError("the schema has no end")

    def _array(self, schema: Json, path: Path) -> list[Any]:
        if _name(path) == "facts":
            return learnt(self._reading)
        usual = 1 if self._reading.wants_less else ITEMS.get(_name(path), self._style.items)
        count = max(schema.get("minItems", 0), min(usual, schema.get("maxItems", usual)))
        values: list[Any] = []
        for index in range(count):
            value = self.value(schema.get("items", {}), (*path, index))
            if value in values and index >= schema.get("minItems", 0):
                break  # a repetition
            values.append(value)
        return values

    def _string(self, schema: Json, path: Path) -> str:
        hint = schema.get("description") or schema.get("title") or ""
        text = phrase(_name(path), hint, _index(path), self._reading, self._style)
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        text = _fitted(text, least=least, most=most)
        self.slots.append(Slot(path, text, most))
        return text


def _number(schema: Json, index: int) -> int:
    """Return a whole number at about seven tenths of the schema's range."""
    told = dict(BOUND.findall(schema.get("description", "")))
    low = int(schema.get("minimum") or told.get("minimum") or 0)
    high = int(schema.get("maximum") or told.get("maximum") or low + 4)
    return low + round((high - low) * SHARES[index % len(SHARES)])


def _name(path: Path) -> str:
    return next((step for step in reversed(path) if isinstance(step, str)), "")


def _index(path: Path) -> int:
    return next((step for step in reversed(path) if isinstance(step, int)), 0)


def _fitted(text: str, *, least: int, most: int | None) -> str:
    while len(text) < least:
        text += PADDING
    return text if most is None else shorten(text, most).ljust(min(least, most), ".")


def _signed(value: Any, slots: list[Slot], reading: Reading, model_id: str) -> Any:
    """Return the answer with the model's id added, and the quote if no text contains it yet."""
    note = f" (answered by {model_id})"
    if not any(reading.quote in slot.text for slot in slots):
        note = f" “{reading.quote}”{note}"
    roomy = [slot for slot in slots if slot.max_length is None or slot.max_length >= len(note)]
    if not roomy:
        return value
    named = [slot for name in SIGNED_FIRST for slot in roomy if _name(slot.path) == name]
    chosen = named[0] if named else max(roomy, key=lambda slot: len(slot.text))
    room = None if chosen.max_length is None else chosen.max_length - len(note)
    return _replaced(value, chosen.path, _fitted(chosen.text, least=0, most=room) + note)


def _replaced(value: Any, path: Path, text: str) -> Any:
    if not path:
        return text
    target = value
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = text
    return value
