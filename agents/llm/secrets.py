"""Detect API keys in texts and hide them, so that keys are never stored, sent or logged.

A text is searched in its plain form (`agents.llm.plain_form`), which also finds keys that were
altered or broken across lines. A key is then hidden in the original text, in full. A word that
starts with a key prefix of a vendor (`agents.llm.key_shapes`) or provider
(`agents.llm.router.PROVIDERS`) counts as a key if the rest looks random; the randomness test is
skipped for prefixes with which no ordinary word starts. Keys without a prefix are recognized by the
word before them, so a bare hash is not taken for a key.

Every text that is stored or logged goes through this module. For speed, words too short to hold a
key are skipped, and a text without any key costs one pass. The time is linear in the text's length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from agents.llm.key_shapes import SHAPES, KeyShape
from agents.llm.plain_form import BREAK, joined, mapped, plain

HIDDEN = "[key hidden]"
Span = tuple[int, int]

_LEAST, _LEAST_OF_ALL = 18, 11  # minimum length of a key, and of one that begins with `sk-`
_MOST_KEYS = 1_000  # keys and possible keys in one text
_MOST_TYPED = 4096  # characters of a message: https://core.telegram.org/bots/api#sendmessage
_FEW_WORDS = 2
_MOST_PIECES = 8  # parts of one key that blanks separate
_LOOKED_AT = 160  # characters of a long key that are tested for randomness
_REACH = 80  # characters before a word that are searched for the beginning of its key
_NEARBY = 48  # characters before a key that are searched for a word that announces it

_RUN = re.compile(r"[A-Za-z0-9+/_\-]{18}")
_SHORT_RUN = re.compile(r"[A-Za-z0-9+/_\-]{11}")
_MARK = re.compile(r"[0-9_\-]|[a-z][A-Z]|[A-Z]{12}")  # ordinary words contain none of these
_KEY_CHARACTERS = re.compile(r"[A-Za-z0-9_\-]*")
_WITH_DOTS = re.compile(r"[A-Za-z0-9_\-.]*")
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-]*={0,2}")
_ALNUM_BEFORE = re.compile(r"[A-Za-z0-9]*\Z")
# Words that may directly precede a key: `mykeysk-…`, `APIKEYgsk_…`; but no random characters.
_WORDS_BEFORE = re.compile(r"(?:(?:[A-Z]?[a-z]{1,15}){1,3}|[A-Z]{1,15})[0-9]{0,2}")
_CHANGES = re.compile(r"[a-z][A-Z0-9]|[0-9][A-Za-z]|[A-Z][0-9]")
_IN_CAPITALS = re.compile(r"[A-Z0-9]{16}")
_HEX = re.compile(r"[0-9A-Fa-f\-]*")
_UNBROKEN = re.compile(r"[A-Za-z0-9]{24}")
_PIECE = re.compile(r"(?=[A-Za-z_\-]{0,40}[0-9])[A-Za-z0-9_\-]{6,}")
_GAP = re.compile(r"\s{1,80}")
_ENDS_OPEN = frozenset("-\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}\N{NON-BREAKING HYPHEN}_")
_BLANKS_AT_BREAKS = re.compile(r"(?:\n|\\[nr]) +|(?<! ) +(?:\n|\\{1,8}[nr])")
# Telegram bot tokens also occur inside URLs: https://core.telegram.org/bots/api#authorizing
_BOT_TOKEN = re.compile(r"(?<![0-9])[0-9]{6,12}:[A-Za-z0-9_-]{30,}")
# Mistral's keys: 32 letters and digits, possibly with line breaks in between.
_THIRTY_TWO = re.compile(
    r"(?<![A-Za-z0-9+/_\-])[A-Za-z0-9](?:\n?[A-Za-z0-9]){31}(?![A-Za-z0-9+/_\-]|=[^\w]|=\Z)"
)
_GLUED_THIRTY_TWO = re.compile(
    r"(?<![A-Za-z0-9])(?:my|your|the|api)?(?:key|token|secret|mistral)([A-Za-z0-9]{32})(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_LONG = re.compile(r"(?<![A-Za-z0-9+/_\-])[A-Za-z0-9+/_\-]{32,}")
_QUOTES = (
    "\"'`\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}"
    "\N{RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK}"
)
_QUOTES += "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}()<>[]{}.,;:!?*"
_ALONE = re.compile(r"[A-Za-z0-9]{32}")
_COMMAND = re.compile(r"\A/[A-Za-z0-9_]{1,32}(?:@[A-Za-z0-9_]{1,32})?\s+")


def _words(*words: str) -> str:
    return "|".join(plain(word) for word in words)


_KEY_WORDS = _words(
    *("key", "token", "secret", "mistral", "schlüssel", "clé", "clave", "chave", "chiave", "klucz"),
    *("sleutel", "nyckel", "nøgle", "ключ", "токен", "секрет", "κλειδί", "anahtar", "密钥", "キー"),
)
_VENDORS = _words("azure", "together", "cohere", "mistral", "ai21", "deepgram", "assemblyai")
_IS_NEAR = re.compile(_KEY_WORDS, re.IGNORECASE)
_ANNOUNCES = re.compile(
    rf"(?:(?:{_KEY_WORDS}|{_VENDORS})\w{{0,12}}[\"'`)\]*]{{0,3}}\s{{0,2}}"
    r"(?:[:=]{1,2}>?|\bis\b|\bist\b|\best\b|\bes\b)"
    rf"|\bbearer|\b(?:api|access)[ _-]?(?:key|token)|\bsecret|\b(?:{_VENDORS}))"
    r"[\"'`(\[*]{0,3}\s{0,2}[\"'`(\[*<]{0,3}\Z",
    re.IGNORECASE,
)


# If two shapes match at one place, the first is used: certain ones first, then longer ones.
_shapes: list[KeyShape] = []
_STARTS_LITERALLY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]*[_\-]|[A-Za-z0-9]{4,}(?=\[|\(\?:)")


def _learn(shapes: Iterable[KeyShape]) -> None:
    _shapes[:] = sorted(
        (*_shapes, *shapes), key=lambda each: (not each.is_certain, -len(each.start))
    )


_learn(SHAPES)


def look_out_for(key_shapes: Iterable[str]) -> None:
    """Add key formats to the detector: regular expressions that a whole key matches.

    Only the literal prefix of each format is used, such as `gsk_` of `gsk_[A-Za-z0-9]{52}`. Keys
    without a literal prefix are found only after a word that announces them.
    """
    new = {found[0] for shape in key_shapes if (found := _STARTS_LITERALLY.match(shape))}
    new -= {
        start for start in new for known in _shapes if known.expression.fullmatch(start.lower())
    }
    _learn(KeyShape(start=re.escape(start), least=16, written=start) for start in sorted(new))


def scrub(text: str, *secrets: str, alone: bool = False) -> str:
    """Return the text with `secrets`, and everything that looks like a key, replaced by `HIDDEN`.

    `alone=True` is for messages typed by a person: it also detects a key without a known prefix
    that makes up the whole message.
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, HIDDEN)
    parts, before = [], 0
    for start, end in _merged(_found(text, alone=alone)):
        parts += [text[before:start], HIDDEN]
        before = end
    return "".join([*parts, text[before:]]) if parts else text


def holds_key(text: str) -> bool:
    """Return whether a message typed by a person contains anything that looks like a key."""
    return any(True for _ in _found(text, alone=True))


def straightened(text: str) -> str:
    """Return a text that consists of one key with the key's original spelling restored.

    This is a guess if pasting altered the key. Several words, or lines that cannot be part of the
    key, are not joined, so that the result matches no vendor's key format.
    """
    lines = [line for line in plain(text.strip()).replace(" " + BREAK, BREAK).split(BREAK) if line]
    lines = [line.strip() for line in lines]
    if not all(_may_go_on(line) for line in lines[1:]):
        return BREAK.join(lines)
    key = "".join(lines)
    for shape in _shapes:
        start = shape.expression.match(key.lower())
        if start is not None:
            return (shape.written or start[0]) + key[start.end() :]
    return key


def _may_go_on(line: str) -> bool:
    """Return whether a line may continue a key, and is neither a word nor the start of a key."""
    is_material = re.search(r"[0-9_\-]|\A[a-f]{1,8}\Z|\A[A-Za-z]{16}", line) is not None
    return is_material and not any(shape.expression.match(line.lower()) for shape in _shapes)


# --- finding keys ---------------------------------------------------------------------------------


def _found(text: str, *, alone: bool) -> Iterator[Span]:
    """Yield the spans of keys in a text, in no particular order."""
    position = done = count = 0
    if "\n " in text or " \n" in text or "\\" in text:  # blanks at a line break belong to it
        text = _BLANKS_AT_BREAKS.sub(lambda found: found[0].replace(" ", BREAK), text)
    least = _LEAST_OF_ALL if "sk-" in text or "SK-" in text or "Sk-" in text else _LEAST
    words = text.split(" ")
    if len(max(words, key=len)) < least:
        words = []  # true of most texts
    for word in words:
        start, position = position, position + len(word) + 1
        if len(word) < least or position <= done or _is_ordinary(word):
            continue
        start, end = max(done, _reach_back(text, start)), position - 1
        if not _may_hold(text[start:end], least):
            continue
        for first, last in _in_chunk(text, start, end):
            last = _reach_on(text, last, end)
            done = max(done, last)
            yield first, last
            count += 1
        if count > _MOST_KEYS:  # not a real message, but one crafted to slow the search down
            yield 0, len(text)
            return
    if alone:
        yield from _all_of_it(text)


def _is_ordinary(word: str) -> bool:
    return word.isascii() and BREAK not in word and _MARK.search(word) is None


def _may_hold(word: str, least: int) -> bool:
    form = joined(word)
    run = (_RUN if least == _LEAST else _SHORT_RUN).search(form)
    if run is None or _MARK.search(form) is None:
        return False
    lowered = form.lower()
    return (
        any(shape.literal in lowered for shape in _shapes)
        or _LONG.search(form) is not None
        or _THIRTY_TWO.search(plain(word)) is not None
        or _BOT_TOKEN.search(form) is not None
    )


def _reach_back(text: str, start: int) -> int:
    """Return where to start searching: earlier than `start` if the word before ends mid-key."""
    before = text[max(0, start - _REACH) : start]
    word = before.rstrip(" ")
    if not word or word[-1] not in _ENDS_OPEN:
        return start
    return start - len(before) + word.rfind(" ") + 1


def _reach_on(text: str, end: int, chunk_end: int) -> int:
    """Return the end of a key, including further parts of it that follow after blanks."""
    if text[end:chunk_end].strip():
        return end
    for _ in range(_MOST_PIECES):
        gap = _GAP.match(text, end)
        if gap is None:
            return end
        stop = text.find(" ", gap.end())
        word = text[gap.end() : stop if stop >= 0 else len(text)][:_MOST_TYPED]
        piece = _PIECE.match(joined(word))
        if piece is None:
            return end
        end = gap.end() + mapped(word).joined().ends[piece.end() - 1]
        if end < gap.end() + len(word):
            return end
    return end


def _in_chunk(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield the spans of keys in a part of the text that contains no ordinary spaces."""
    chunk = text[start:end]
    form = plain(chunk)
    for first, last in _placed(list(_in_form(form, text, start)), chunk, form, is_joined=False):
        yield start + first, start + last
    if BREAK in form:
        form = joined(chunk)
        for first, last in _placed(list(_in_form(form, text, start)), chunk, form, is_joined=True):
            yield start + first, start + last


def _placed(spans: list[Span], chunk: str, form: str, *, is_joined: bool) -> Iterator[Span]:
    """Yield the spans in the chunk that correspond to these spans of its plain form."""
    if not spans or form == chunk:
        yield from spans
        return
    places = mapped(chunk).joined() if is_joined else mapped(chunk)
    for first, last in spans:
        yield places.span(first, last)


def _in_form(form: str, text: str, start: int) -> Iterator[Span]:
    yield from _with_a_known_start(form)
    for token in _BOT_TOKEN.finditer(form):
        yield token.span()
    yield from _announced(form, text, start)


def _with_a_known_start(form: str) -> Iterator[Span]:
    lowered = form.lower()
    if len(lowered) != len(form):  # for example, a dotted capital I becomes two characters
        lowered = "".join([each.lower() if each.isascii() else each for each in form])
    starts = [
        (found.start(), rank, found.end())
        for rank, shape in enumerate(_shapes)
        if shape.literal in lowered
        for found in islice(shape.expression.finditer(lowered), _MOST_KEYS + 1)
    ]
    if len(starts) > _MOST_KEYS:
        yield 0, len(form)
        return
    done = 0
    for first, rank, last in sorted(starts):
        if first >= done and (end := _end_of_key(_shapes[rank], form, first, last)):
            done = end
            yield first, end


def _end_of_key(shape: KeyShape, form: str, first: int, last: int) -> int:
    """Return the end of the key whose prefix is at `first:last`; 0 if it is not a key."""
    characters = _WITH_DOTS if shape.has_dots else _KEY_CHARACTERS
    characters = _BASE64 if shape.is_base64 else characters
    last += form[last : last + 1] == " "  # a blank may separate the rest from the prefix
    body = characters.match(form, last, last + _LOOKED_AT)
    rest = body[0].rstrip(".") if body else ""
    glued = _ALNUM_BEFORE.search(form, max(0, first - 40), first)
    if not _fits(shape, form[first:last], rest, glued[0] if glued else ""):
        return 0
    whole = characters.match(form, last)
    return whole.end() if whole else last


def _fits(shape: KeyShape, start: str, rest: str, before: str) -> bool:
    """Return whether `rest` fits a key with this prefix, and `before` is empty or a word."""
    if shape.is_certain:
        return len(rest) >= shape.least and _has_a_mark(rest)
    if start == "sk-" and not before:
        return len(rest) >= 8 and _has_a_mark(rest)
    if _HEX.fullmatch(start + rest[: shape.least]):
        return False  # a UUID or a hash, in which the prefix occurs by chance
    is_drawn = _is_random(rest) or (shape.is_in_capitals and _IN_CAPITALS.match(rest) is not None)
    if len(rest) < shape.least or not is_drawn:
        return False
    return not before or _WORDS_BEFORE.fullmatch(before) is not None


def _has_a_mark(rest: str) -> bool:
    return re.search(r"[0-9A-Z]|[A-Za-z0-9]{16}", rest) is not None


def _is_random(rest: str) -> bool:
    """Return whether the characters alternate between letters and digits as in a random string."""
    return _UNBROKEN.search(rest) is not None or len(_CHANGES.findall(rest)) >= 4


def _announced(form: str, text: str, start: int) -> Iterator[Span]:
    """Yield the spans of keys without a known prefix that follow a word announcing a key."""
    for found in _THIRTY_TWO.finditer(form):
        if _is_mistrals(found[0].replace(BREAK, "")) and _IS_NEAR.search(
            _before(form, found.start(), text, start)
        ):
            yield found.span()
    for found in _GLUED_THIRTY_TWO.finditer(form):
        if _is_mistrals(found[1]):
            yield found.span(1)
    for found in _LONG.finditer(form):
        if _is_random(found[0][:_LOOKED_AT]) and _ANNOUNCES.search(
            _before(form, found.start(), text, start)
        ):
            yield found.span()


def _before(form: str, place: int, text: str, start: int) -> str:
    """Return the characters before a place in a chunk's form that may announce a key."""
    near = form[max(0, place - _NEARBY) : place]
    if len(near) < _NEARBY:
        near = plain(text[max(0, start - _NEARBY) : start]) + near
    return near


def _is_mistrals(run: str) -> bool:
    kinds = (r"[0-9]", r"[A-Z]", r"[a-z]", r"[g-zG-Z]")
    return all(re.search(kind, run) for kind in kinds)


def _all_of_it(text: str) -> Iterator[Span]:
    """Yield the span of the whole text if it is little more than keys without a known prefix.

    A bot command at the beginning is left out.
    """
    if not _LEAST <= len(text) <= _MOST_TYPED:
        return
    command = _COMMAND.match(text)
    typed = text[command.end() :] if command else text
    for form in (joined(typed.strip()), plain(typed)):
        words = [word.strip(_QUOTES) for word in form.split()]
        keys = [word for word in words if _ALONE.fullmatch(word) and _is_mistrals(word)]
        if keys and len(words) - len(keys) <= _FEW_WORDS:
            yield len(text) - len(typed), len(text)
            return


def _merged(spans: Iterator[Span]) -> Iterator[Span]:
    """Yield the spans in order, with overlapping ones merged."""
    last: Span | None = None
    for span in sorted(spans):
        if last is not None and span[0] < last[1]:
            last = last[0], max(last[1], span[1])
            continue
        if last is not None:
            yield last
        last = span
    if last is not None:
        yield last
