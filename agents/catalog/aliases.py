"""Compare the requested and the served model by the catalog.

Two entries of the catalog are two models, however similar their names. Names that differ by a date
or a `:variant` are the same model only within one entry (its id, its full name `canonical_slug` and
its alias target), or if neither name is in the catalog. Aliases are followed from the requested
model to its target, never in reverse. A router picks the model itself; the catalog tells which
entries are routers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from agents.catalog.lookup import Named, listed_as
from agents.llm.model_match import (
    NEWEST,
    is_known_as,
    is_same_model,
    is_same_name,
    model_asked_for,
)

MAX_STEPS = 5  # aliases followed: an alias of an alias is rare, an alias of itself is an error


class Listed(Named, Protocol):
    """The attributes used here, shared by `CatalogModel` and `agents.catalog.entries.Entry`."""

    @property
    def alias_target(self) -> str: ...
    @property
    def is_router(self) -> bool: ...


ListedAs = Callable[[str], Sequence[Listed]]


def is_served(requested: str, served: str) -> bool | None:
    """Return whether the served model is the requested one, by the catalog or else by name.

    None = unknown, as in `agents.llm.model_match.is_same_model`. The result is also None if the
    requested model is a router, or if it stands for the newest model of a family and the served
    model is newer than the catalog. The catalog is not queried if both names are identical, or if
    one of them is missing.
    """
    if is_same_name(requested, served):
        return True
    if not served.strip() or not model_asked_for(requested):
        return None
    return judged(requested, served, listed_as)


def judged(requested: str, served: str, known: ListedAs) -> bool | None:
    """Return the same verdict as `is_served` from another list; `known` looks up its entries."""
    asked = model_asked_for(requested)
    entries = _leads_to(asked, known)
    if any(entry.is_router for entry in entries):
        return None
    answered = known(served)
    if not entries and not answered:
        return is_same_model(requested, served)
    targets = [entry.alias_target for entry in entries if entry.alias_target]
    if asked.startswith(NEWEST) and not (answered and targets):
        return True if _is_among(served, entries, targets) else None
    if not entries:
        # Aliases of the served model are not followed, so they cannot make it a match.
        return _is_among(asked, answered)
    if not answered:
        return _is_among(served, entries, targets)
    return not _models(entries).isdisjoint(_models(answered))


def _leads_to(model_id: str, known: ListedAs) -> list[Listed]:
    """Follow aliases from an id, and return the entries found.

    A chain that is broken, circular or longer than `MAX_STEPS` ends early.
    """
    entries: list[Listed] = []
    name = model_id
    while name and len(entries) < MAX_STEPS and (found := known(name)):
        if found[0] in entries:
            break
        entries.append(found[0])
        name = found[0].alias_target
    return entries


def _is_among(name: str, entries: Sequence[Listed], others: Sequence[str] = ()) -> bool:
    """Return whether `name` is another form of a name of one of `entries`, or of one of `others`.

    `name` itself is not in the catalog.
    """
    names = {*others, *(entry.model_id for entry in entries)}
    names |= {entry.canonical_slug for entry in entries if entry.canonical_slug}
    return any(is_known_as(name, listed) for listed in names)


def _models(entries: Sequence[Listed]) -> set[str]:
    """Return the base model ids of the entries, so that variants count as one model."""
    return {entry.model_id.casefold().partition(":")[0] for entry in entries}
