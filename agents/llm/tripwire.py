"""Did the model that was asked for answer? Compares what we requested with what was served.

Vendors answer under a more exact name than the one they were asked for: an alias becomes its
target, a name gets the date of its release (OpenAI also writes month and day alone, Mistral year and
month), `-latest` and Anthropic's `-0` stand for a date, a variant such as `:free` disappears.
Everything else is another model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_DATE = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2}|(?:0[1-9]|1[0-2]|2[3-9])\d{2})$")
_UNDATED = re.compile(r"-latest$|(?<=-\d)-0$")  # claude-sonnet-4-0 is claude-sonnet-4-20250514
_NO_ALIASES: Mapping[str, str] = {}
NEWEST = "~"  # OpenRouter's mark of a name that leads to whatever is newest
_FINE_TUNED = "ft:"  # OpenAI's: what follows names a model of one's own
# They name no model: whichever the router or preset picks is the one that was asked for.
_ROUTERS = ("openrouter/auto", "@preset/")


def is_same_model(
    requested: str, served: str, aliases: Mapping[str, str] = _NO_ALIASES
) -> bool | None:
    """Return whether the served model is the requested one; None = nobody can tell.

    None stands for a response that names no model, for a request to a router, and for one to the
    newest model of a family that `aliases` does not have; only `is False` is a mismatch. `aliases`
    leads from a model id to the catalogue's `canonical_slug` or `alias_target`, and counts for what
    was requested only: that something else is an alias of it too makes nothing of that the same.
    Two different dates are two models; a date against none is the same.
    """
    if not served.strip() or requested.startswith(_ROUTERS):
        return None
    names, served_name = _names(requested, aliases), _plain(served)
    if any(_is_same_release(name, served_name) for name in names):
        return True
    return None if names[-1].startswith(NEWEST) else False


def _names(model_id: str, aliases: Mapping[str, str]) -> list[str]:
    """Return the id and all that it is an alias of; the chain may be broken or circular."""
    names: list[str] = []
    following: str | None = model_id
    while following and (plain := _plain(following)) not in names:
        names.append(plain)
        following = aliases.get(following) or aliases.get(plain)
    return names


def _plain(model_id: str) -> str:
    plain = model_id.strip().casefold()
    return plain if plain.startswith(_FINE_TUNED) else plain.partition(":")[0]


def _is_same_release(one: str, other: str) -> bool:
    date, other_date = _date(one), _date(other)
    if date and other_date and date != other_date:
        return False
    # Sorted: OpenRouter's canonical slugs put the same parts in another order, such as
    # claude-4.5-sonnet-20250929 for claude-sonnet-4.5.
    return sorted(_undated(one).split("-")) == sorted(_undated(other).split("-"))


def _undated(model_id: str) -> str:
    return _UNDATED.sub("", _DATE.sub("", model_id))


def _date(model_id: str) -> str:
    found = _DATE.search(model_id)
    return found[1].replace("-", "") if found else ""
