"""Build Markdown for Telegram from a model's untrusted texts.

A model's text can neither hide a link's address, nor open a code fence around the text after it,
nor break out of the code block that it is placed in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# An underscore between letters or digits has no effect, so it is not escaped: names stay readable.
_FORMATS = re.compile(r"[\\`*\[<>|~$#&]|(?<![^\W_])_|_(?![^\W_])")
_OPENS_A_BLOCK = re.compile(r"^(\d*)(?=[-+=.)])")
# Escaped at the start of a line: list numbers (Markdown would renumber them), rules and heading
# underlines. A hyphen, an asterisk or a plus before a word starts a list, which is kept.
_OPENS_A_LINE = re.compile(r"^(\d{1,9})(?=[.)](?:\s|$))|^(?=[-+=])")
_BULLET = re.compile(r"^([ \t]*)[-*+•][ \t]+(?=\S)")
_MAX_INDENT = 3  # four spaces would turn a line into code; three still nest a list

# Markup that is kept in prose. Emphasis must have no letters or digits next to it on either side
# and must contain words: `2*3*4` and `/__init__.py` are not emphasis.
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
    """Return text as Markdown that keeps emphasis, lists and code, and shows links' addresses.

    Everything else is escaped, so that it appears exactly as written.
    """
    text = _RENDERED_AS_SPACE.sub("\n", text)
    parts, end = [], 0
    for block in _BLOCK.finditer(text):
        parts += [_lines(text[end : block.start()]), fenced(block["code"], block["language"])]
        end = block.end()
    return "".join([*parts, _lines(text[end:])])


def literal(text: str) -> str:
    """Return the text as one line of Markdown, escaped so that it appears exactly as written."""
    line = " ".join(text.split())
    return _OPENS_A_BLOCK.sub(r"\1\\", _escaped(line))


def _lines(text: str) -> str:
    lines, most = [], _MAX_INDENT
    for line in text.split("\n"):
        bullet = _BULLET.match(line)
        if bullet is not None and not _is_rule(line):
            indent = min(len(bullet[1].expandtabs(4)), most)
            lines.append(f"{' ' * indent}- {_inline(line[bullet.end() :])}")
            most = min(indent + _MAX_INDENT, 2 * _MAX_INDENT)  # a list in this one
            continue
        content = line.lstrip()
        indent = min(len(line) - len(content), _MAX_INDENT)
        lines.append(" " * indent + _inline(content))
        most = most if not content else _MAX_INDENT
    return "\n".join(lines)


def _is_rule(line: str) -> bool:
    """Return whether Markdown would draw the line as a horizontal rule, such as `* * *`."""
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
    """Return the text as a code block, which Telegram users can copy with one tap."""
    longest_run = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest_run + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def section(title: str, body: str) -> str:
    """Return the body under its title, or "" if the body is empty."""
    return f"**{title}**\n{body}" if body else ""


def bullets(lines: Iterable[str]) -> str:
    """Return lines of Markdown as a bulleted list."""
    return "\n".join(f"- {line}" for line in lines)


def page(*parts: str) -> str:
    """Return the non-empty parts, separated by blank lines."""
    return "\n\n".join(part for part in parts if part)
