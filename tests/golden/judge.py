"""Says what a useful answer would have held and this one does not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What an agent's answer must hold; a path like `steps.why` goes through every entry."""

    filled: tuple[str, ...] = ()
    at_least: Mapping[str, int] = field(default_factory=dict)
    mentions: tuple[str, ...] = ()
    shorter_than: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Expectations:
        """Return the expectations of a YAML mapping.

        Raises:
            TypeError: it holds a key that nothing here checks.
        """
        lists = {key: tuple(value) for key, value in payload.items() if isinstance(value, list)}
        return cls(**{**payload, **lists})

    @property
    def paths(self) -> tuple[str, ...]:
        return (*self.filled, *self.at_least, *self.shorter_than)


def missing_from(answer: Mapping[str, Any], expectations: Expectations) -> list[str]:
    """Return one sentence for each thing that the answer lacks; none means useful."""
    return [
        *_unfilled(answer, expectations.filled),
        *_too_few(answer, expectations.at_least),
        *_unmentioned(answer, expectations.mentions),
        *_too_long(answer, expectations.shorter_than),
    ]


def _unfilled(answer: Mapping[str, Any], paths: tuple[str, ...]) -> Iterator[str]:
    for path in paths:
        values = _values_at(answer, path)
        if not values or any(_is_blank(value) for value in values):
            yield f"{path} is empty"


def _too_few(answer: Mapping[str, Any], minimums: Mapping[str, int]) -> Iterator[str]:
    for path, minimum in minimums.items():
        count = sum(not _is_blank(value) for value in _values_at(answer, path))
        if count < minimum:
            yield f"{path} has {count} of at least {minimum} entries"


def _unmentioned(answer: Mapping[str, Any], words: tuple[str, ...]) -> Iterator[str]:
    text = "\n".join(_texts_in(answer))
    for word in words:
        if not re.search(rf"\b{re.escape(word)}", text, re.IGNORECASE):
            yield f"{word!r} is nowhere mentioned"


def _too_long(answer: Mapping[str, Any], limits: Mapping[str, int]) -> Iterator[str]:
    for path, limit in limits.items():
        longest = max((len(str(value)) for value in _values_at(answer, path)), default=0)
        if longest >= limit:
            yield f"{path} has {longest} characters instead of fewer than {limit}"


def _values_at(value: Any, path: str) -> list[Any]:
    """Return what stands at a path, with lists taken apart; a missing key stands as None."""
    if isinstance(value, list):
        return [found for entry in value for found in _values_at(entry, path)]
    if not path:
        return [value]
    key, _, rest = path.partition(".")
    return _values_at(value.get(key) if isinstance(value, Mapping) else None, rest)


def _texts_in(value: Any) -> Iterator[str]:
    """Yield every text of an answer; the names of its fields are none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts_in(list(value.values()))
    elif isinstance(value, list):
        for entry in value:
            yield from _texts_in(entry)


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or value == {}
