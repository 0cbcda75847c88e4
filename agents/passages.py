"""Passages of a prompt: untrusted texts between tags that the texts themselves cannot contain.

A prompt names its passages by tags such as `<message>` and `<profile>`. A text that contained a tag
could end its own passage and open another, so the bracket of every known tag in a text becomes
`&lt;`. The search for tags ignores letter case, width, look-alikes and invisible characters, as
models do. Tags have no random marker: with one, no prompt would ever hit a vendor's cache, and two
runs on the same inputs would differ.

Look-alikes are the characters in Unicode's `confusables.txt` (UTS #39) and the brackets that
Unicode names "angle"; width and style are folded by NFKD.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

INERT = "&lt;"  # replaces the bracket of a tag in a text
TASK = "task"  # the only block with instructions; it is in the system message only

OPENING = (
    "<\u226e\ufe64\uff1c\U000e003c"  # less-than sign: plain, negated, small, full-width, tag
    "\u02c2\u1438\u16b2\u2039\u276e\U0001d236"  # look-alikes of it
    "\u2329\u27e8\u27ea\u3008\u300a\u276c\u2770\u2991\u2993\u2995\u29fc\ufe3d\ufe3f"  # brackets
    "\u226a\u22d6\u22d8\u227a\u2a79\u2aa1\u2af7"  # other less-than signs
)
# French has spaces inside quotation marks, « message »: with a space, this is not a tag.
QUOTING = "\u00ab"
SLASHES = "/\\\u2044\u2215\u2571\u29f5\u29f8\uff0f\uff3c\ufe68"
FILLERS = "\u115f\u1160\u2800\u3164\uffa0"  # look blank, but are letters or symbols by category
LOOK_ALIKES = {  # Cyrillic, Greek, Armenian, phonetic; after NFKD and casefolding
    "a": "\u0430\u03b1\u0251\u1d00",
    "b": "\u0432\u03b2\u0299",
    "c": "\u0441\u03f2\u1d04",
    "d": "\u0501\u1d05",
    "e": "\u0435\u03b5\u1d07\u0454",
    "f": "\u0192\ua730",
    "g": "\u0261\u0262\u0581",
    "h": "\u04bb\u043d\u03b7\u029c\u0570",
    "i": "\u0456\u03b9\u0131\u026a\u04cf",
    "j": "\u0458\u03f3\u0237",
    "k": "\u043a\u03ba\u1d0b",
    "l": "\u029f\u2223\u01c0",
    "m": "\u043c\u03bc\u1d0d",
    "n": "\u0578\u0274",
    "o": "\u043e\u03bf\u0585\u1d0f",
    "p": "\u0440\u03c1\u1d18",
    "q": "\u051b\u0566",
    "r": "\u0433\u0280",
    "s": "\u0455\ua731",
    "t": "\u0442\u03c4\u1d1b",
    "u": "\u057d\u03c5\u1d1c\u028b",
    "v": "\u0475\u03bd\u1d20",
    "w": "\u051d\u0461\u1d21",
    "x": "\u0445\u03c7",
    "y": "\u0443\u03b3\u04af\u028f",
    "z": "\u1d22",
}
_READ_AS = {ord(alike): letter for letter, alikes in LOOK_ALIKES.items() for alike in alikes}
_TAG_CHARACTERS = range(0xE0020, 0xE007F)  # invisible copies of ASCII
# Ranges of letters in squares and circles that NFKD does not fold, each by its letter A.
_ENCLOSED = (0x1F150, 0x1F170, 0x1F1E6)

_BRACKET = re.compile(f"[{re.escape(OPENING + QUOTING)}]")
_TAG = re.compile(r"<\s*/?\s*([^\W\d][\w.:-]*)")


@dataclass(frozen=True)
class Tags:
    """A set of tag names that texts must not be able to use as tags.

    It includes all known names, and must never miss one.
    """

    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str]) -> Tags:
        """Return the tags with these names, folded to plain lower-case letters."""
        return cls(frozenset(filter(None, map(_folded, names))))

    @classmethod
    def written_in(cls, *prompts: str) -> Tags:
        """Return every tag that occurs in the prompts, as `<name>`, `</name>` or `<name …`."""
        return cls.of(name for prompt in prompts for name in _TAG.findall(prompt))

    def __or__(self, other: Tags) -> Tags:
        return Tags(self.names | other.names)

    def inert(self, text: str) -> str:
        """Return the text with the brackets of these tags replaced; the rest stays unchanged.

        The time is linear in the text's length.
        """
        return _BRACKET.sub(
            lambda found: INERT if self._is_tag(text, found) else found[0],
            text,
        )

    def inert_in(self, value: Any) -> Any:
        """Return the JSON value with `inert` applied to all its strings and keys."""
        if isinstance(value, str):
            return self.inert(value)
        if isinstance(value, Mapping):
            return {self.inert(str(key)): self.inert_in(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [self.inert_in(part) for part in value]
        return value

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.names), default=0)

    def _is_tag(self, text: str, bracket: re.Match[str]) -> bool:
        """Return whether one of the names follows the bracket, after any blanks and slashes."""
        at, end = bracket.end(), len(text)
        while at < end and _is_gap(text[at]):
            if bracket[0] in QUOTING and text[at].isspace():
                return False
            at += 1
        name = ""
        while at < end and len(name) <= self._longest:
            letters = _folded(text[at])
            if name in self.names and not _goes_on(letters):
                return True
            if letters and not (_goes_on(letters) or letters in ".:-"):
                return False
            name += letters
            at += 1
        return name in self.names


def render(passages: Mapping[str, Any], tags: Tags) -> str:
    """Return the non-empty passages as delimited blocks, `<name>…</name>`.

    Passages are data: their tags, and all of `tags`, are made inert inside them.
    """
    tags |= Tags.of(passages)
    blocks = []
    for name, value in passages.items():
        inert = tags.inert_in(value)
        text = inert if isinstance(inert, str) else json.dumps(inert, ensure_ascii=False, indent=1)
        if text.strip():
            blocks.append(f"<{name}>\n{text.strip()}\n</{name}>")
    return "\n\n".join(blocks)


def with_task(system_prompt: str, task: str) -> str:
    """Return the system message: the prompt, followed by the task unless that is empty."""
    return f"{system_prompt}\n\n<{TASK}>\n{task}\n</{TASK}>" if task else system_prompt


def _folded(text: str) -> str:
    """Return a name in plain lower-case letters, without invisible characters."""
    return "".join(map(_letters, text))


@lru_cache(maxsize=4096)
def _letters(character: str) -> str:
    """Return the plain letters that a character looks like, "" if it is invisible."""
    code = ord(character)
    if code in _TAG_CHARACTERS:
        character = chr(code - 0xE0000)
    for first in _ENCLOSED:
        if first <= code < first + 26:
            character = chr(code - first + ord("a"))
    plain = unicodedata.normalize("NFKD", character).casefold()
    # Normalized again, because casefolding decomposes `\u0130`.
    seen = (one for one in unicodedata.normalize("NFKD", plain) if not _is_unseen(one))
    return "".join(seen).translate(_READ_AS)


def _is_unseen(character: str) -> bool:
    """Return whether a character is a format or control character, combining mark or filler.

    White space, including line breaks, is not.
    """
    is_break = character.isspace()
    return not is_break and (unicodedata.category(character)[0] in "CM" or character in FILLERS)


@lru_cache(maxsize=4096)
def _is_gap(character: str) -> bool:
    """Return whether a character may be between bracket and name: blank, slash or invisible."""
    if character in SLASHES or character.isspace():
        return True
    if ord(character) in _TAG_CHARACTERS:
        return _letters(character) in "/\\ "
    return _is_unseen(character)


def _goes_on(letters: str) -> bool:
    """Return whether these letters continue a name."""
    return letters[:1].isalnum() or letters[:1] == "_"


NO_TAGS = Tags()
TASK_TAG = Tags.of([TASK])
