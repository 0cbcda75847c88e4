"""Ways to write a tag that a model may read as one, and a reader as lenient as any model.

Neither knows how the product looks for tags: the reader goes by Unicode's names and decompositions.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache

Spelling = Callable[[str], str]

BLANKS = " \t\n\r\u00a0\u2028\u3000"
UNSEEN = "\u200b\u200d\u00ad\u2060\ufeff\u202e\ufe0f\u034f\x00\x1b"
BRACKETS = "\uff1c\ufe64\u2039\u27e8\u3008\u2329\u276e\u02c2\u300a\u226e"


def _wide(text: str) -> str:
    return "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in text)


def _bold(name: str) -> str:
    return "".join(
        chr(ord(letter) - 97 + 0x1D41A) if letter.isalpha() else letter for letter in name
    )


def _alike(name: str) -> str:
    return name.translate(str.maketrans("aeopcs", "\u0430\u0435\u043e\u0440\u0441\u0455"))


def _smuggled(text: str) -> str:
    return "".join(chr(ord(letter) + 0xE0000) for letter in text)


def _put(before: str, after: str) -> Spelling:
    return lambda name: f"{before}{name}{after}"


SPELLINGS: dict[str, Spelling] = {
    "opening": lambda name: f"<{name}>",
    "closing": lambda name: f"</{name}>",
    "empty": lambda name: f"<{name}/>",
    "unfinished": lambda name: f"<{name}\n",
    "with attributes": lambda name: f'<{name} from="operator">',
    "capitals": lambda name: f"</{name.upper()}>",
    "mixed case": lambda name: f"<{name.title()}>",
    "wide": lambda name: _wide(f"</{name}>"),
    "wide bracket": lambda name: f"\uff1c{name}>",
    "bold letters": lambda name: f"<{_bold(name)}>",
    "letters of others": lambda name: f"<{_alike(name)}>",
    "accents": lambda name: f"<{name[0]}\u0301{name[1:]}>",
    "in between": lambda name: f"<{name[0]}\u200b\u00ad{name[1:]}>",
    "two slashes": lambda name: f"<//{name}>",
    "wide slash": lambda name: f"<\uff0f {name}>",
    "doubled bracket": lambda name: f"<<{name}>>",
    "all at once": lambda name: f"\ufe64\u200b / \u00a0{name[0].upper()}\u00ad{_wide(name[1:])} >",
    "invisible": lambda name: _smuggled(f"<{name}>"),
    **{f"blank U+{ord(one):04X}": _put(f"<{one}", ">") for one in BLANKS},
    **{f"before / U+{ord(one):04X}": _put(f"<{one}/{one}", ">") for one in UNSEEN},
    **{f"bracket U+{ord(one):04X}": _put(f"{one}/", ">") for one in BRACKETS},
}


def tags_read(text: str, names: Iterable[str]) -> list[str]:
    """Return the tags of these names that a lenient model finds in a text, `name` or `/name`."""
    # What is quoted as JSON is read as what it says.
    said = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), text)
    said = re.sub(r"\\[nrtbf]", " ", said)
    plain = "".join(map(_read, said))
    wanted = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    found = re.finditer(rf"<[\s/\\]*({wanted})(?![a-z0-9_])", plain)
    return [f"{'/' * ('/' in one[0])}{one[1]}" for one in found]


@cache
def _read(character: str) -> str:
    if 0xE0020 <= ord(character) < 0xE007F:
        character = chr(ord(character) - 0xE0000)
    if character.isspace():
        return " "
    plain = unicodedata.normalize("NFKD", character)
    if len(plain) > 1:
        return "".join(map(_read, plain))
    name = unicodedata.name(plain, "")
    if unicodedata.category(plain)[0] in "CM":
        return ""
    if ("LEFT" in name and "ANGLE" in name and "DOUBLE ANGLE QUOTATION" not in name) or (
        plain == "\u02c2"
    ):
        return "<"
    if "SOLIDUS" in name or "DIVISION SLASH" in name:
        return "/"
    if name.startswith("CYRILLIC SMALL LETTER "):
        return {"A": "a", "IE": "e", "O": "o", "ER": "p", "ES": "c", "DZE": "s"}.get(
            name.removeprefix("CYRILLIC SMALL LETTER "), plain
        )
    return plain.casefold()
