"""Compare the requested and the served model by their names alone.

Vendors often answer with a more specific name than the requested one: they append a release date
(OpenAI also writes month and day alone, Mistral year and month), replace `-latest` or Anthropic's
`-0` by a date, or drop a variant such as `:free`. Any other difference means another model. For
models in the catalog, the catalog decides instead of the name: see `agents.catalog.aliases`.
"""

from __future__ import annotations

import re

_DATE = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2}|(?:0[1-9]|1[0-2]|2[3-9])\d{2})$")
# claude-sonnet-4-0 is claude-sonnet-4-20250514; :latest is Ollama's.
_UNDATED = re.compile(r"[-:]latest$|(?<=-\d)-0$")
NEWEST = "~"  # OpenRouter's prefix of a name that stands for the newest model of a family
_FINE_TUNED = "ft:"  # OpenAI's prefix of fine-tuned models
_PRESET = "@preset/"  # OpenRouter's named settings, used alone or after a model's id


def is_same_model(requested: str, served: str, *, has_variants: bool = True) -> bool | None:
    """Return whether the served model is the requested one by its name; None = unknown.

    The result is None if the response names no model, or if the request leaves the choice to a
    preset or asks for the newest model of a family. Only False is a mismatch. Two names with
    different dates are different models; a name with a date matches the name without one.
    `has_variants` is True for OpenRouter's ids, where a colon starts a variant. Elsewhere, the text
    after a colon is part of the name, as in llama3.2:1b and llama3.2:3b.
    """
    asked = model_asked_for(requested)
    if not asked or not served.strip():
        return None
    if is_same_release(asked, served, has_variants=has_variants):
        return True
    return None if asked.startswith(NEWEST) else False


def is_same_name(requested: str, served: str) -> bool:
    """Return whether both names are identical, ignoring letter case."""
    return requested.strip().casefold() == served.strip().casefold()


def model_asked_for(requested: str) -> str:
    """Return the model that a request names; "" if it leaves the choice to a preset."""
    return requested.partition(_PRESET)[0].strip()


def is_same_release(one: str, other: str, *, has_variants: bool = True) -> bool:
    """Return whether two names differ at most in variant, a date on one side, or order of parts."""
    one, other = (_plain(name, has_variants=has_variants) for name in (one, other))
    date, other_date = _date(one), _date(other)
    if date and other_date and date != other_date:
        return False
    # Sorted: OpenRouter's canonical slugs put the same parts in another order, such as
    # claude-4.5-sonnet-20250929 for claude-sonnet-4.5.
    return sorted(_undated(one).split("-")) == sorted(_undated(other).split("-"))


def is_known_as(name: str, known: str) -> bool:
    """Return whether `name` refers to the same release as `known` and adds no other date.

    `name` must have either no date or the date of `known`.
    """
    return is_same_release(name, known) and _date(_plain(name)) in ("", _date(_plain(known)))


def _plain(model_id: str, *, has_variants: bool = True) -> str:
    plain = model_id.strip().casefold()
    is_whole = plain.startswith(_FINE_TUNED) or not has_variants
    return plain if is_whole else plain.partition(":")[0]


def _undated(model_id: str) -> str:
    return _UNDATED.sub("", _DATE.sub("", model_id))


def _date(model_id: str) -> str:
    found = _DATE.search(model_id)
    return found[1].replace("-", "") if found else ""
