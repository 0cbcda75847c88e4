"""Finding models: by id, with or without a variant, and by search words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from django.db.models import Q

from agents.models import MODEL_ID_SHAPE, CatalogModel

MAX_QUERY_CHARS = 200
MAX_RESULTS = 100
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_MODEL_ID = re.compile(MODEL_ID_SHAPE)
_NOT_IN_WORDS = re.compile(r"[^a-z0-9]+")


class Named(Protocol):
    """What a name can be looked up in: a row of the table, or an entry of a list as it came."""

    @property
    def model_id(self) -> str: ...
    @property
    def canonical_slug(self) -> str: ...


T = TypeVar("T", bound=Named)


def find(model_id: str) -> CatalogModel | None:
    """Return what the catalogue knows of a model, also of one that has vanished."""
    return find_all([model_id]).get(model_id)


def find_all(model_ids: Iterable[str]) -> Mapping[str, CatalogModel]:
    """Return the models by the ids asked for; what is not known is left out.

    An id with a `:variant` that has no entry of its own is its base model's; an id that is listed
    as the full name of another one is that one's.
    """
    wanted = {model_id: _names(model_id) for model_id in model_ids}
    names = {name for names in wanted.values() for name in names}
    rows = CatalogModel.objects.filter(Q(pk__in=names) | Q(canonical_slug__in=names))
    by_name: dict[str, CatalogModel] = {}
    # The plain id last, so that it wins over its variants, which share its full name.
    for row in sorted(rows, key=lambda row: len(row.model_id), reverse=True):
        by_name[row.canonical_slug] = row
    by_name |= {row.model_id: row for row in rows}
    found = {
        model_id: [by_name[name] for name in names if name in by_name]
        for model_id, names in wanted.items()
    }
    return {model_id: rows[0] for model_id, rows in found.items() if rows}


def listed_as(name: str) -> list[CatalogModel]:
    """Return the models that go by a name: the one of that id, else those of that full name.

    An id with a `:variant` that has no entry of its own is its base model's. The same full name is
    that of several entries if these are variants of one model.
    """
    names = _names(name)
    rows = CatalogModel.objects.filter(Q(pk__in=names) | Q(canonical_slug__in=names))
    return known_as(name, rows) if names else []


def known_as(name: str, listed: Iterable[T]) -> list[T]:
    """Return those of the entries that go by a name, as `listed_as` finds them in the table."""
    entries = list(listed)
    for wanted in _names(name):
        if found := [entry for entry in entries if entry.model_id == wanted]:
            return found
    for wanted in _names(name):
        if found := [entry for entry in entries if entry.canonical_slug == wanted]:
            return found
    return []


def search(query: str, limit: int = 20) -> list[CatalogModel]:
    """Return the models on offer whose id or name has every word of the query, the best first.

    Words match in any order and whatever their spelling of "-", "." and " ": "gpt5 mini" finds
    openai/gpt-5-mini. Without a word, the newest come first.
    """
    words = query[:MAX_QUERY_CHARS].casefold().split()
    listed = CatalogModel.objects.filter(vanished_at=None)
    ranked = sorted(
        (rank, -_age(created), model_id)
        for model_id, name, created in listed.values_list("model_id", "name", "created")
        if (rank := _rank(words, model_id.casefold(), name.casefold())) is not None
    )
    best = [model_id for *_, model_id in ranked[: max(1, min(limit, MAX_RESULTS))]]
    rows = CatalogModel.objects.in_bulk(best)
    return [rows[model_id] for model_id in best if model_id in rows]


def _names(model_id: str) -> list[str]:
    """Return under which names a model may be listed, the most exact first."""
    plain = model_id.strip()
    base = plain.partition(":")[0]
    names = dict.fromkeys([plain, base, plain.casefold(), base.casefold()])
    return [name for name in names if _MODEL_ID.match(name)]


def _age(created: datetime | None) -> float:
    return (created or _LONG_AGO).timestamp()


def _rank(words: list[str], model_id: str, name: str) -> int | None:
    """Return how far the query is from meaning this model; None if a word does not fit at all."""
    squeezed = _squeezed(model_id), _squeezed(name)
    for word in words:
        small = _squeezed(word)
        if not (word in model_id or word in name or (small and small in " ".join(squeezed))):
            return None
    asked = _squeezed("".join(words))
    slug = _squeezed(model_id.partition("/")[2])
    if asked in (squeezed[0], slug, squeezed[1]):
        return 0
    if squeezed[0].startswith(asked) or slug.startswith(asked):
        return 1
    # Words from the start of a part, such as "son" for claude-sonnet, before those in its middle.
    parts = _NOT_IN_WORDS.split(f"{model_id} {name}")
    has_starts = all(any(part.startswith(word) for part in parts) for word in words)
    return 2 if has_starts else 3


def _squeezed(text: str) -> str:
    return _NOT_IN_WORDS.sub("", text)
