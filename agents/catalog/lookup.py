"""Find models in the catalog by id, with or without a variant, or by search words."""

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
    """The attributes that look-ups by name use: of a table row or an entry of a fetched list."""

    @property
    def model_id(self) -> str: ...
    @property
    def canonical_slug(self) -> str: ...


T = TypeVar("T", bound=Named)


def find(model_id: str) -> CatalogModel | None:
    """Return the catalog's row for a model, even if it is no longer listed; None if unknown."""
    return find_all([model_id]).get(model_id)


def find_all(model_ids: Iterable[str]) -> Mapping[str, CatalogModel]:
    """Return the catalog's rows by requested id; unknown ids are left out.

    An id with a `:variant` that has no row of its own leads to its base model's row. An id that is
    the full name (`canonical_slug`) of a model leads to that model's row.
    """
    wanted = {model_id: _names(model_id) for model_id in model_ids}
    names = {name for names in wanted.values() for name in names}
    rows = CatalogModel.objects.filter(Q(pk__in=names) | Q(canonical_slug__in=names))
    by_name: dict[str, CatalogModel] = {}
    # The id without a variant comes last, so that it wins over variants with the same full name.
    for row in sorted(rows, key=lambda row: len(row.model_id), reverse=True):
        by_name[row.canonical_slug] = row
    by_name |= {row.model_id: row for row in rows}
    found = {
        model_id: [by_name[name] for name in names if name in by_name]
        for model_id, names in wanted.items()
    }
    return {model_id: rows[0] for model_id, rows in found.items() if rows}


def listed_as(name: str) -> list[CatalogModel]:
    """Return the rows for a name: the row with this id, or else the rows with this full name.

    An id with a `:variant` that has no row of its own leads to its base model's row. Several rows
    have the same full name (`canonical_slug`) if they are variants of one model.
    """
    names = _names(name)
    rows = CatalogModel.objects.filter(Q(pk__in=names) | Q(canonical_slug__in=names))
    return known_as(name, rows) if names else []


def known_as(name: str, listed: Iterable[T]) -> list[T]:
    """Return the entries for a name, by the same rules as `listed_as` for the table."""
    entries = list(listed)
    for wanted in _names(name):
        if found := [entry for entry in entries if entry.model_id == wanted]:
            return found
    for wanted in _names(name):
        if found := [entry for entry in entries if entry.canonical_slug == wanted]:
            return found
    return []


def search(query: str, limit: int = 20) -> list[CatalogModel]:
    """Return the listed models whose id or name contains every word of the query, best first.

    Words match in any order, and "-", "." and " " are ignored: "gpt5 mini" finds openai/gpt-5-mini.
    With an empty query, the newest models come first.
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
    """Return the names under which a model may be listed, most specific first."""
    plain = model_id.strip()
    base = plain.partition(":")[0]
    names = dict.fromkeys([plain, base, plain.casefold(), base.casefold()])
    return [name for name in names if _MODEL_ID.match(name)]


def _age(created: datetime | None) -> float:
    return (created or _LONG_AGO).timestamp()


def _rank(words: list[str], model_id: str, name: str) -> int | None:
    """Return how well the words match a model, 0 = best to 3; None if a word does not match."""
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
    # Words at the start of a part, such as "son" for claude-sonnet, rank before words inside it.
    parts = _NOT_IN_WORDS.split(f"{model_id} {name}")
    has_starts = all(any(part.startswith(word) for part in parts) for word in words)
    return 2 if has_starts else 3


def _squeezed(text: str) -> str:
    return _NOT_IN_WORDS.sub("", text)
