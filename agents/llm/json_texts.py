"""Find the JSON in a model's output: bare, after reasoning or prose, in a code fence, or repaired.

Extraction is cheap and involves no guessing. Repair closes brackets and drops commas. A text that
ends in the middle of a value is never repaired, because half an answer is not an answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import json_repair

REPAIR_MAX_CHARS = 32 * 1024
REPAIR_MAX_UNCLOSED = 100  # brackets; rejecting 5,000 nested ones took 0.8 s
FOUND_MAX = 20  # attempts to parse an object in one text; a text with more of them is no answer

_FENCE = "```"
_THOUGHTS_END = "</think>"
_BRACKETS = re.compile(r"[{\[]")


def strictly(text: str) -> Any:
    """Parse the text as JSON without NaN or Infinity.

    Raises:
        ValueError: the text is not JSON.
        RecursionError: the value is nested too deeply.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def without_thoughts(text: str) -> str:
    """Return the text after the last `</think>`, or all of it if there is no such tag."""
    if text.lstrip().startswith(("{", "[")):  # starts with JSON, which may contain the tag
        return text
    return text.rpartition(_THOUGHTS_END)[2]


def unfenced(text: str) -> str:
    """Return the content of a code fence that encloses the whole text; otherwise the text itself.

    Uses no regular expression: one that allows whitespace everywhere took 72 s on 4,000 newlines.
    """
    stripped = text.strip()
    first_line, newline, rest = stripped.partition("\n")
    if newline and first_line.startswith(_FENCE) and rest.endswith(_FENCE):
        return rest.removesuffix(_FENCE)
    return text


def found_in(text: str) -> list[Any]:
    """Return the complete, non-empty JSON objects and lists embedded in a text, in order."""
    return list(_whole_ones(text[:REPAIR_MAX_CHARS]))


def _whole_ones(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    at, tries = 0, 0
    while tries < FOUND_MAX and (start := _BRACKETS.search(text, at)) is not None:
        tries += 1
        try:
            value, at = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            at = start.end()
            continue
        if value:
            yield value


def breaks_off(text: str) -> bool:
    """Return whether the text ends in the middle of a JSON value, so that its rest is missing."""
    first = _BRACKETS.search(text)
    if first is None:
        return False
    body = text[first.start() :].rstrip().removesuffix(_FENCE).rstrip()
    if body.endswith(("}", "]")):
        return False
    is_in_text, depth = _state_at_the_end(body)
    if depth <= 0:
        return False  # the value is closed, and prose follows it
    return is_in_text or not body.endswith(('"', ",", "{", "["))


def _state_at_the_end(text: str) -> tuple[bool, int]:
    """Return whether the text ends inside a string, and how many brackets are still open."""
    is_in_text, is_escaped, depth = False, False, 0
    for character in text:
        if is_in_text:
            if is_escaped:
                is_escaped = False
            elif character == "\\":
                is_escaped = True
            elif character == '"':
                is_in_text = False
        elif character == '"':
            is_in_text = True
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
            if depth == 0:
                return False, 0
    return is_in_text, depth


def is_too_much(text: str) -> bool:
    """Return whether repairing the text could take too long or exhaust the stack."""
    unclosed = sum(map(text.count, "[{")) - sum(map(text.count, "]}"))
    return len(text) > REPAIR_MAX_CHARS or unclosed > REPAIR_MAX_UNCLOSED


def mended(text: str) -> Any:
    """Repair broken JSON and return its object or list; None if that is impossible."""
    if breaks_off(text):
        return None
    try:
        value = json_repair.loads(text, skip_json_loads=True)
    except (ValueError, RecursionError):
        return None
    # Strings do not count: the repair turns any prose into a string.
    return value if isinstance(value, dict | list) and value else None
