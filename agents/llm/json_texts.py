"""The JSON in what a model wrote: as it stands, after thoughts and prose, in a fence, or mended.

Taking it out costs nothing and guesses nothing; mending closes brackets and drops commas, and is
never done to a text that ends in the middle of a value: half an answer is no answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import json_repair

REPAIR_MAX_CHARS = 32 * 1024
REPAIR_MAX_UNCLOSED = 100  # brackets: 5,000 nested ones took 0.8 s to be refused
FOUND_MAX = 20  # objects in one text; a text with more of them is no answer

_FENCE = "```"
_THOUGHTS_END = "</think>"
_BRACKETS = re.compile(r"[{\[]")


def strictly(text: str) -> Any:
    """Return the JSON value that the text is.

    Raises:
        ValueError: it is none.
        RecursionError: it is nested too deep.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def without_thoughts(text: str) -> str:
    """Return what stands behind the model's thoughts, if it wrote them down first."""
    if text.lstrip().startswith(("{", "[")):  # the mark may be a part of what it says
        return text
    return text.rpartition(_THOUGHTS_END)[2]


def unfenced(text: str) -> str:
    """Return what stands in a code fence around all of the text, else the text.

    Without a regular expression: one that allows blanks everywhere took 72 s on 4,000 newlines.
    """
    stripped = text.strip()
    first_line, newline, rest = stripped.partition("\n")
    if newline and first_line.startswith(_FENCE) and rest.endswith(_FENCE):
        return rest.removesuffix(_FENCE)
    return text


def found_in(text: str) -> list[Any]:
    """Return the objects and lists that stand whole in a text of other words, in order."""
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
    """Tell whether a text ends in the middle of a value, whose rest is not known."""
    first = _BRACKETS.search(text)
    if first is None:
        return False
    body = text[first.start() :].rstrip().removesuffix(_FENCE).rstrip()
    if body.endswith(("}", "]")):
        return False
    is_in_text, depth = _state_at_the_end(body)
    if depth <= 0:
        return False  # prose behind a value that was closed
    return is_in_text or not body.endswith(('"', ",", "{", "["))


def _state_at_the_end(text: str) -> tuple[bool, int]:
    """Return whether the text ends within a string, and how many brackets are open there."""
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
    """Tell whether mending a text would take too long, or exhaust the stack."""
    unclosed = sum(map(text.count, "[{")) - sum(map(text.count, "]}"))
    return len(text) > REPAIR_MAX_CHARS or unclosed > REPAIR_MAX_UNCLOSED


def mended(text: str) -> Any:
    """Return the value that a broken text seems to mean, or None."""
    if breaks_off(text):
        return None
    try:
        value = json_repair.loads(text, skip_json_loads=True)
    except (ValueError, RecursionError):
        return None
    # The repair makes some string or other of any prose.
    return value if isinstance(value, dict | list) and value else None
