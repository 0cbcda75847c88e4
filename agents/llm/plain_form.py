"""Normalize a text before searching it for keys: fold look-alikes, drop invisible characters.

Phones, mail programs and web pages alter pasted text: a hyphen becomes a dash, a line break or an
invisible character is inserted, a letter is replaced by a look-alike from another alphabet, or a
character is percent-encoded (`%2D` for a hyphen). The normalized text is called the plain form.
`mapped` also records the position in the original text of each character of the plain form, so that
a key found in the plain form can be redacted in the original.
"""

# ruff: noqa: RUF001 - this file needs ambiguous characters

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass

BREAK = "\n"
_BREAKS = frozenset("\n\r\v\f\x85\u2028\u2029")
# Category Pd contains most dashes. These characters are used as dashes or look like dashes, too.
_DASHES = frozenset("\u2043\u2212\u02d7\u2500\u2501\u30fc\uff70\u3161\u2796\u00af\u02c9\u23af")
# Letters and symbols that are invisible, and the replacement character.
_INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0\u2800\ufffd\u180e")
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Mn", "Me", "Zs", "Zl", "Zp"})
# Cyrillic, Greek and Armenian letters that look like Latin ones (UTS 39, confusables.txt).
_LOOKALIKES = dict(
    zip(
        "авеѕіјкорсухһԁԛԝӏґгАВЕЅІЈКМНОРСТУХҺԀԚԜαβγικνορτυχϲϳΑΒΕΖΗΙΚΜΝΟΡΤΥΧոսհօզցոՕՍ",
        "aвesijkopcyxhdqwlrrABESIJKMHOPCTYXHDQWaByikvoptuxcjABEZHIKMNOPTYXnuhoqgnOU",
        strict=True,
    )
) | {"в": "b", "ı": "i", "ɡ": "g", "ǀ": "l", "ɑ": "a", "ᴋ": "k", "ꜱ": "s", "ʀ": "r", "ĸ": "k"}
_MOST_REMEMBERED = 20_000
# Percent signs and backslashes may have been escaped repeatedly.
_ESCAPE = re.compile(
    r"(?:%(?:25){0,4}[0-9A-Fa-f]{2})+|(?:\\{1,8}u[0-9A-Fa-f]{4})+|\\{1,8}x[0-9A-Fa-f]{2}"
    r"|\\{1,8}[nrt]|&(?:\#[0-9]{1,7}|\#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,8});"
)
_PERCENT = re.compile(r"%(?:25){0,4}([0-9A-Fa-f]{2})")
_AROUND_BREAKS = re.compile(r"(?<! )[ ]*\n[ \n]*")


@dataclass(frozen=True, slots=True)
class PlainForm:
    """The plain form of a text, with the original position of each of its characters."""

    text: str
    starts: list[int]
    ends: list[int]

    def joined(self) -> PlainForm:
        """Return a copy without line breaks and the blanks around them."""
        kept: list[int] = []
        before = 0
        for found in _AROUND_BREAKS.finditer(self.text):
            kept += range(before, found.start())
            before = found.end()
        kept += range(before, len(self.text))
        return PlainForm(
            "".join([self.text[place] for place in kept]),
            [self.starts[place] for place in kept],
            [self.ends[place] for place in kept],
        )

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the start and end in the original text of the part `start:end` of the form."""
        return self.starts[start], self.ends[end - 1]


def plain(text: str) -> str:
    """Return the plain form of a text, with every line break as one line feed."""
    if _has_escapes(text):
        text = _ESCAPE.sub(lambda found: _decoded(found[0]), text)
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_TABLE)


def joined(text: str) -> str:
    """Return the plain form of a text without line breaks and the blanks around them."""
    form = plain(text)
    return _AROUND_BREAKS.sub("", form) if BREAK in form else form


def mapped(text: str) -> PlainForm:
    """Return the plain form of a text with original positions; much slower than `plain`."""
    characters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []

    def add(part: str, start: int, end: int) -> None:
        characters.extend(part)
        starts.extend([start] * len(part))
        ends.extend([end] * len(part))

    before = 0
    for found in _ESCAPE.finditer(text) if _has_escapes(text) else ():
        for place in range(before, found.start()):
            add(_TABLE[ord(text[place])], place, place + 1)
        add(_decoded(found[0]).translate(_TABLE), found.start(), found.end())
        before = found.end()
    for place in range(before, len(text)):
        add(_TABLE[ord(text[place])], place, place + 1)
    return PlainForm("".join(characters), starts, ends)


def _has_escapes(text: str) -> bool:
    return "%" in text or "\\" in text or "&" in text


def _decoded(escape: str) -> str:
    if escape[0] == "%":
        raw = bytes(int(digits, 16) for digits in _PERCENT.findall(escape))
        return raw.decode("utf-8", "replace")
    if escape[0] == "&":
        return html.unescape(escape)
    kind = escape.lstrip("\\")
    if kind[0] == "u":
        units = re.findall(r"u([0-9A-Fa-f]{4})", escape)
        raw = b"".join(int(unit, 16).to_bytes(2, "big") for unit in units)
        return raw.decode("utf-16-be", "replace")
    return chr(int(kind[1:], 16)) if kind[0] == "x" else BREAK


class _Table(dict[int, str]):
    """Maps a character's code point to its plain form, computed on first use."""

    def __missing__(self, code: int) -> str:
        form = _form_of(chr(code))
        if len(self) < _MOST_REMEMBERED:
            self[code] = form
        return form


def _form_of(character: str) -> str:
    if character in _BREAKS:
        return BREAK
    if character in " \t":
        return " "
    # Dropped before NFKD, which would turn special blanks into ordinary spaces.
    if character in _INVISIBLE or unicodedata.category(character) in _INVISIBLE_CATEGORIES:
        return ""
    return "".join(
        _letter(part)
        for part in unicodedata.normalize("NFKD", character)
        if unicodedata.category(part) not in _INVISIBLE_CATEGORIES
    )


def _letter(character: str) -> str:
    if character.isascii():
        return character
    if character in _DASHES or unicodedata.category(character) == "Pd":
        return "-"
    return _LOOKALIKES.get(character, character)


_TABLE = _Table()
