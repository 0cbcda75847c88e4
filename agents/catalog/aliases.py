"""What else a requested model is called, for calls that seem to be answered by another one.

An alias leads from what was requested to what it means, never back, and the full name of a model
counts only if it is not the id of another one: the catalogue must not talk a true mismatch away.
"""

from __future__ import annotations

from agents.catalog.lookup import find
from agents.llm.tripwire import NEWEST, is_same_model
from agents.models import CatalogModel

MAX_STEPS = 5  # an alias of an alias is rare; one of itself is a mistake


def is_served(requested: str, served: str) -> bool | None:
    """Return whether the served model is the requested one, by name and by the catalogue.

    None = nobody can tell, as in `agents.llm.tripwire.is_same_model`: also for the newest model of
    a family when what answered is newer than the catalogue.
    """
    verdict = is_same_model(requested, served)
    is_newest = requested.startswith(NEWEST)
    if verdict or not served.strip() or not (verdict is False or is_newest):
        return verdict
    verdict = is_same_model(requested, served, aliases_of(requested))
    if verdict is False and is_newest and find(served) is None:
        return None
    return verdict


def aliases_of(model_id: str) -> dict[str, str]:
    """Return the steps that lead from an id, alias by alias, to what it means."""
    aliases: dict[str, str] = {}
    name = model_id
    while name not in aliases and len(aliases) < MAX_STEPS and (row := find(name)) is not None:
        target = row.alias_target or _full_name(row)
        if target in ("", name):
            break
        aliases[name] = target
        name = target
    return aliases


def _full_name(row: CatalogModel) -> str:
    """Return the canonical slug, unless it names another model of the list."""
    is_another = CatalogModel.objects.filter(pk=row.canonical_slug).exclude(pk=row.pk).exists()
    return "" if is_another else row.canonical_slug
