"""Keys as vendors make them and as people paste them; written from outside, not from the product.

The shapes are those of the vendors' documentation and consoles in 2026: how a key begins, of which
letters it is, and how long. The bendings are what phones, mail programs, chats, browsers and tired
people do to a key on its way.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

LETTERS = string.ascii_letters
ALNUM = string.ascii_letters + string.digits
LOWER = string.ascii_lowercase + string.digits
BASE64URL = ALNUM + "-_"
HEX = "0123456789abcdef"
BASE32 = string.ascii_uppercase + "234567"

Chance = random.Random


def _drawn(chance: Chance, letters: str, count: int) -> str:
    return "".join(chance.choices(letters, k=count))


def _mistral(chance: Chance) -> str:
    while True:
        key = _drawn(chance, ALNUM, 32)
        kinds = (
            string.ascii_uppercase,
            string.ascii_lowercase,
            string.digits,
            "ghijklmnopqrstuvwxyz",
        )
        if all(set(key) & set(kind) for kind in kinds):
            return key


VENDORS: dict[str, Callable[[Chance], str]] = {
    "openrouter": lambda c: "sk-or-v1-" + _drawn(c, HEX, 64),
    "anthropic": lambda c: "sk-ant-api03-" + _drawn(c, BASE64URL, 93) + "AA",
    "openai": lambda c: (
        "sk-proj-" + _drawn(c, BASE64URL, 74) + "T3BlbkFJ" + _drawn(c, BASE64URL, 74)
    ),
    "openai, of old": lambda c: "sk-" + _drawn(c, ALNUM, 20) + "T3BlbkFJ" + _drawn(c, ALNUM, 20),
    "deepseek": lambda c: "sk-" + _drawn(c, HEX, 32),
    "google": lambda c: "AIzaSy" + _drawn(c, BASE64URL, 33),
    "groq": lambda c: "gsk_" + _drawn(c, ALNUM, 52),
    "xai": lambda c: "xai-" + _drawn(c, ALNUM, 80),
    "hugging face": lambda c: "hf_" + _drawn(c, LETTERS, 34),
    "github": lambda c: "ghp_" + _drawn(c, ALNUM, 36),
    "github, fine": lambda c: "github_pat_" + _drawn(c, ALNUM, 22) + "_" + _drawn(c, ALNUM, 59),
    "mistral": _mistral,
    "aws": lambda c: "AKIA" + _drawn(c, BASE32, 16),
    "perplexity": lambda c: "pplx-" + _drawn(c, ALNUM, 48),
    "replicate": lambda c: "r8_" + _drawn(c, ALNUM, 37),
    "fireworks": lambda c: "fw_" + _drawn(c, ALNUM, 24),
    "slack": lambda c: (
        f"xoxb-{_drawn(c, string.digits, 12)}-{_drawn(c, string.digits, 13)}-{_drawn(c, ALNUM, 24)}"
    ),
    "standard webhooks": lambda c: (
        "whsec_" + base64.b64encode(c.randbytes(c.randrange(24, 65))).decode()
    ),
    "stripe": lambda c: "sk_live_" + _drawn(c, ALNUM, 24),
    "telegram": lambda c: f"{c.randrange(10**9, 10**10)}:AA{_drawn(c, BASE64URL, 33)}",
    "a json web token": lambda c: (
        f"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ{_drawn(c, BASE64URL, 90)}."
        f"{_drawn(c, BASE64URL, 43)}"
    ),
}
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212\uff0d\ufe63"
HIDDEN_CHARACTERS = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f\u202a\u2066\u180e\u034f"
BLANKS = "\u00a0\u202f\u2007\u2009\u3000"
BREAKS = ("\n", "\r\n", "\u2028", "\n\n", " \n", "\n  ")
LOOKALIKES = str.maketrans("skaeopcxiyKAEOPCXTHBM", "ѕкаеорсхіуКАЕОРСХТНВМ")
GREEK = str.maketrans("koAKOHTXaPE", "κοΑΚΟΗΤΧαΡΕ")
FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


@dataclass(frozen=True, slots=True)
class Pasted:
    """What a person sends, and the parts of the key in it that must be found nowhere after that."""

    text: str
    parts: tuple[str, ...]

    def is_in(self, text: str) -> bool:
        """Tell whether some of the key stands in a text; a few letters would do so by chance."""
        return any(part in text for part in self.parts if len(part) >= 7)


def _start_of(key: str) -> int:
    """Return how long the vendor's own beginning of a key is, roughly."""
    for number, letter in enumerate(key):
        if letter.isdigit() or number > 10:
            return max(2, number)
    return 2


def _inserted(chance: Chance, key: str, what: str) -> Pasted:
    place = chance.randrange(1, len(key))
    return Pasted(key[:place] + what + key[place:], (key[:place], key[place:]))


def _everywhere(chance: Chance, key: str) -> Pasted:
    step = chance.randrange(1, 9)
    what = chance.choice(HIDDEN_CHARACTERS)
    parts = tuple(key[n : n + step] for n in range(0, len(key), step))
    return Pasted(what.join(parts), (key, what.join(parts)))


def _in_lines(chance: Chance, key: str) -> Pasted:
    places = sorted(chance.sample(range(4, len(key) - 2), 2))
    parts = (key[: places[0]], key[places[0] : places[1]], key[places[1] :])
    return Pasted("\n".join(parts), parts)


def _with_all_dashes(chance: Chance, key: str) -> Pasted:
    bent = key.replace("-", chance.choice(DASHES))
    return Pasted(bent, (key, bent, *bent.split(bent[2])))


def _whole(text: str, key: str) -> Pasted:
    return Pasted(text, (key,))


def _bent(text: str, key: str) -> Pasted:
    return Pasted(text, (key, text))


def _encoded(key: str) -> str:
    return "".join(letter if letter.isalnum() else f"%{ord(letter):02X}" for letter in key)


Bending = Callable[[Chance, str], Pasted]
BENDINGS: dict[str, Bending] = {
    "plain": lambda c, key: _whole(key, key),
    "among words": lambda c, key: _whole(f"hey, my key is {key} and it should work", key),
    "quoted": lambda c, key: _whole(
        c.choice(('"{}"', "`{}`", "«{}»", "({})", "“{}”")).format(key), key
    ),
    "as a setting": lambda c, key: _whole(f"export SOME_API_KEY={key}", key),
    "as a header": lambda c, key: _whole(f"Authorization: Bearer {key}\nAccept: */*", key),
    "as json": lambda c, key: _whole(f'{{"api_key": "{key}", "model": "x"}}', key),
    "in an address": lambda c, key: _whole(f"https://example.com/v1?token={key}&x=1", key),
    "capital by autocorrection": lambda c, key: _bent(key[0].upper() + key[1:], key),
    "start in capitals": lambda c, key: _bent(
        key[: _start_of(key)].upper() + key[_start_of(key) :], key
    ),
    "break after the start": lambda c, key: Pasted(
        key[: _start_of(key)] + "\n" + key[_start_of(key) :], (key, key[_start_of(key) :])
    ),
    "break somewhere": lambda c, key: _inserted(c, key, c.choice(BREAKS)),
    "in three lines": _in_lines,
    "broken, and words after it": lambda c, key: Pasted(
        f"the key:\n{key[:16]}\n{key[16:]}\nis that right?", (key[:16], key[16:])
    ),
    "hidden character": lambda c, key: _inserted(c, key, c.choice(HIDDEN_CHARACTERS)),
    "hidden characters everywhere": _everywhere,
    "hidden character in front": lambda c, key: _whole(c.choice(HIDDEN_CHARACTERS) + key, key),
    "no-break space": lambda c, key: _inserted(c, key, c.choice(BLANKS)),
    "smart dashes": _with_all_dashes,
    "cyrillic": lambda c, key: _bent(
        key[: _start_of(key)].translate(LOOKALIKES) + key[_start_of(key) :], key
    ),
    "cyrillic all through": lambda c, key: _bent(key.translate(LOOKALIKES), key),
    "greek": lambda c, key: _bent(
        key[: _start_of(key)].translate(GREEK) + key[_start_of(key) :], key
    ),
    "full width": lambda c, key: _bent(key.translate(FULL_WIDTH), key),
    "url-encoded": lambda c, key: _bent(_encoded(key), key),
    "url-encoded twice": lambda c, key: _bent(quote(_encoded(key), safe=""), key),
    "as a python literal": lambda c, key: Pasted(
        repr(key[:7] + "\u200b" + key[7:]), (key, key[7:])
    ),
    "in lines of a json text": lambda c, key: Pasted(
        json.dumps({"text": f"token:\n  {key[:12]}\n  {key[12:]} \n"}), (key[:12], key[12:])
    ),
    "glued to a colon": lambda c, key: _whole(f"key:{key}", key),
    "glued to a word": lambda c, key: _whole(
        f"{c.choice(('mykey', 'apikey', 'Token', 'KEY'))}{key}", key
    ),
    "two": lambda c, key: _whole(f"{key} and {key}", key),
    "two in lines": lambda c, key: _whole(f"key 1: {key}\nkey 2: {key}", key),
    "in a forwarded mail": lambda c, key: _whole(f"> From: Eve\n> key: {key}\n> Regards", key),
}


def pasted(chance: Chance, vendor: str, bending: str) -> Pasted:
    """Return a fresh key of a vendor, bent in that way."""
    return BENDINGS[bending](chance, VENDORS[vendor](chance))
