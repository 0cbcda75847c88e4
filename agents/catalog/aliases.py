"""Did the model that was asked for answer? What the catalogue says of requested and served.

Two entries of the list are two models, whatever their names. A date or a `:variant` excuses a
difference only within one entry, that is against its id, its full name (`canonical_slug`) and what
it is an alias of, or where neither of the two is listed. An alias leads from what was requested to
what it means, never back. A router picks the model itself, and the list says which entries are
routers.
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

MAX_STEPS = 5  # an alias of an alias is rare; one of itself is a mistake


class Listed(Named, Protocol):
    """What counts here of an entry; `CatalogModel` and `agents.catalog.entries.Entry` have it."""

    @property
    def alias_target(self) -> str: ...
    @property
    def is_router(self) -> bool: ...


ListedAs = Callable[[str], Sequence[Listed]]


def is_served(requested: str, served: str) -> bool | None:
    """Return whether the served model is the requested one, by the catalogue and else by name.

    None = unknown, as in `agents.llm.model_match.is_same_model`: also for a router, and for
    the newest model of a family when what answered is newer than the catalogue. The catalogue is
    not asked where the very name that was requested answered, or none.
    """
    if is_same_name(requested, served):
        return True
    if not served.strip() or not model_asked_for(requested):
        return None
    return judged(requested, served, listed_as)


def judged(requested: str, served: str, known: ListedAs) -> bool | None:
    """Return the verdict by a list, of which `known` returns the entries that go by a name."""
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
        # That what answered may be an alias of what was asked for excuses nothing.
        return _is_among(asked, answered)
    if not answered:
        return _is_among(served, entries, targets)
    return not _models(entries).isdisjoint(_models(answered))


def _leads_to(model_id: str, known: ListedAs) -> list[Listed]:
    """Return the entries an id leads to, alias by alias; the chain may be broken or circular."""
    entries: list[Listed] = []
    name = model_id
    while name and len(entries) < MAX_STEPS and (found := known(name)):
        if found[0] in entries:
            break
        entries.append(found[0])
        name = found[0].alias_target
    return entries


def _is_among(name: str, entries: Sequence[Listed], others: Sequence[str] = ()) -> bool:
    """Return whether an unlisted name is another form of a name of the entries or the others."""
    names = {*others, *(entry.model_id for entry in entries)}
    names |= {entry.canonical_slug for entry in entries if entry.canonical_slug}
    return any(is_known_as(name, listed) for listed in names)


def _models(entries: Sequence[Listed]) -> set[str]:
    """Return the models that entries are: an id and its `:variant`s are one."""
    return {entry.model_id.casefold().partition(":")[0] for entry in entries}
