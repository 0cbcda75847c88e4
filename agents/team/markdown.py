"""Markdown for Telegram, built from texts that a model wrote and nobody may trust.

A model's text can neither hide a link, nor swallow what follows it in an open code fence, nor
break out of the fence that it is put into.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_HIDES_OR_SWALLOWS = re.compile(r"[\\`~$\[<|]")
_INDENTS_INTO_CODE = re.compile(r"^(?: {4}| {0,3}\t)[ \t]*", re.MULTILINE)
_TURNS_INTO_HEADING = re.compile(r"^([ \t]*)(#|[-=]+[ \t]*$)", re.MULTILINE)
# An underscore between letters or digits formats nothing, and names stay readable in a terminal.
_FORMATS = re.compile(r"[\\`*\[<>|~$#&]|(?<![^\W_])_|_(?![^\W_])")
_OPENS_A_BLOCK = re.compile(r"^(\d*)(?=[-+=.)])")


def prose(text: str) -> str:
    """Return paragraphs in which emphasis and lists work, and nothing else does."""
    text = _INDENTS_INTO_CODE.sub("   ", text)  # three spaces still nest a list
    text = _HIDES_OR_SWALLOWS.sub(r"\\\g<0>", text)
    return _TURNS_INTO_HEADING.sub(r"\1\\\2", text)


def literal(text: str) -> str:
    """Return the text as one line that reads exactly as it was written."""
    line = " ".join(text.split())
    return _OPENS_A_BLOCK.sub(r"\1\\", _FORMATS.sub(r"\\\g<0>", line))


def fenced(text: str) -> str:
    """Return the text in a code block, which Telegram copies with one tap."""
    longest_run = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest_run + 1)
    return f"{fence}\n{text}\n{fence}"


def section(title: str, body: str) -> str:
    """Return the body under its title, or nothing when there is no body."""
    return f"**{title}**\n{body}" if body else ""


def bullets(lines: Iterable[str]) -> str:
    """Return ready Markdown lines as a list."""
    return "\n".join(f"- {line}" for line in lines)


def page(*parts: str) -> str:
    """Return the parts that are not empty, a blank line between them."""
    return "\n\n".join(part for part in parts if part)
