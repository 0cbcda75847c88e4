"""Markdown for Telegram, built from a model's untrusted texts.

A model's text can neither hide a link, nor swallow what follows it in an open code fence, nor
break out of the fence that it is put into.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# An underscore between letters or digits formats nothing, and names stay readable in a terminal.
_FORMATS = re.compile(r"[\\`*\[<>|~$#&]|(?<![^\W_])_|_(?![^\W_])")
_OPENS_A_BLOCK = re.compile(r"^(\d*)(?=[-+=.)])")
# At the start of a line: a list with numbers of its own (Markdown would count anew), a rule, a
# heading's underline. A hyphen, an asterisk or a plus before a word is a list that is kept.
_OPENS_A_LINE = re.compile(r"^(\d{1,9})(?=[.)](?:\s|$))|^(?=[-+=])")
_BULLET = re.compile(r"^([ \t]*)[-*+•][ \t]+(?=\S)")
_MAX_INDENT = 3  # four spaces would make a line code; three still nest a list

# What keeps its meaning in prose. Emphasis only where it stands apart from letters and digits on
# both sides and holds words: `2*3*4` and `/__init__.py` are no emphasis.
_MARKUP = re.compile(
    r"""
      (?P<code>(?<!`)`(?!`)[^`\n]+(?<!`)`(?!`))
    | \[(?P<label>[^\[\]\n]*)\]\((?P<url>https?://[^\s()<>]*(?:\([^\s()<>]*\)[^\s()<>]*)*)\)
    | (?P<bare>https?://[^\s<>]+)
    | (?:(?<=^)|(?<=[\s(“\u2018«"'¿¡—\u2013]))(?P<mark>\*{1,3}|_)
      (?P<words>(?:[^\W_]|["“\u2018«($€£](?=[^\s*_]))(?:[^*_\n]*[^*_\s(“\u2018«\[])?)
      (?P=mark)(?=$|[\s.,;:!?)”\u2019»"'…—\u2013])
    """,
    re.VERBOSE,
)
_BLOCK = re.compile(
    r"^```(?P<language>[A-Za-z0-9+#-]*)\n(?P<code>.*?)\n```[ \t]*$", re.MULTILINE | re.DOTALL
)
_RENDERED_AS_SPACE = re.compile(r"\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


def prose(text: str) -> str:
    """Return paragraphs as Markdown: emphasis, lists and code work, and a link shows its address.

    Everything else reads as it was written.
    """
    text = _RENDERED_AS_SPACE.sub("\n", text)
    parts, end = [], 0
    for block in _BLOCK.finditer(text):
        parts += [_lines(text[end : block.start()]), fenced(block["code"], block["language"])]
        end = block.end()
    return "".join([*parts, _lines(text[end:])])


def literal(text: str) -> str:
    """Return the text as one line that reads exactly as it was written."""
    line = " ".join(text.split())
    return _OPENS_A_BLOCK.sub(r"\1\\", _escaped(line))


def _lines(text: str) -> str:
    return "\n".join(map(_line, text.split("\n")))


def _line(line: str) -> str:
    bullet = _BULLET.match(line)
    if bullet is not None and not _is_rule(line):
        indent = min(len(bullet[1].expandtabs(4)), 2 * _MAX_INDENT)
        return f"{' ' * indent}- {_inline(line[bullet.end() :])}"
    content = line.lstrip()
    indent = min(len(line) - len(content), _MAX_INDENT)
    return " " * indent + _inline(content)


def _is_rule(line: str) -> bool:
    """Tell `* * *`, which Markdown draws as a rule."""
    return not line.strip(" \t*-_")


def _inline(line: str) -> str:
    parts, end = [], 0
    for found in _MARKUP.finditer(line):
        parts += [_escaped(line[end : found.start()]), _markup(found)]
        end = found.end()
    return _OPENS_A_LINE.sub(r"\1\\", "".join([*parts, _escaped(line[end:])]))


def _markup(found: re.Match[str]) -> str:
    if found["code"]:
        return found["code"]
    if found["url"]:
        label, url = _escaped(found["label"].strip()), _escaped(found["url"])
        return f"{label} ({url})" if label and label != url else url
    if found["bare"]:
        return _escaped(found["bare"])
    mark = "*" * len(found["mark"])
    return f"{mark}{_escaped(found['words'])}{mark}"


def _escaped(text: str) -> str:
    return _FORMATS.sub(r"\\\g<0>", text)


def fenced(text: str, language: str = "") -> str:
    """Return the text in a code block, which Telegram copies with one tap."""
    longest_run = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest_run + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def section(title: str, body: str) -> str:
    """Return the body under its title, or nothing when there is no body."""
    return f"**{title}**\n{body}" if body else ""


def bullets(lines: Iterable[str]) -> str:
    """Return ready Markdown lines as a list."""
    return "\n".join(f"- {line}" for line in lines)


def page(*parts: str) -> str:
    """Return the parts that are not empty, a blank line between them."""
    return "\n\n".join(part for part in parts if part)
