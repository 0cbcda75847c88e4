"""Find models in use that will be retired soon or are gone, and possible replacements.

Callers pass the models in use with their users, and should alert once for each `event_key`. This
module changes nothing: an operator decides.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from django.conf import settings

from agents.base import Needs
from agents.catalog import find_all, lacks, per_million
from agents.models import CatalogModel
from agents.registry import default_registry
from agents.snapshot import read_snapshot

THRESHOLDS_DAYS = (1, 7, 30)

# Parts of a name that denote a version, a size or a release stage rather than the model family.
_VERSION = re.compile(r"v?\d+(\.\d+)*[a-z]{0,2}\Z")
_TRAILING_VERSION = re.compile(r"[\d.]+\Z")
_NOT_FAMILY = {"preview", "latest", "exp", "experimental", "beta", "instruct", "chat", "it"}


class Reason(StrEnum):
    """The reason why a model in use needs a successor."""

    EXPIRES = "expires"
    VANISHED = "vanished"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One use of a model: its id, the user (an agent or a setting), and the requirements."""

    model_id: str
    who: str
    needs: Needs = field(default_factory=Needs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """A warning about one model in use."""

    model_id: str
    used_by: tuple[str, ...]
    reason: Reason
    event_key: str  # changes only if there is something new to report
    sentence: str
    expires_on: date | None = None
    days_left: int | None = None  # negative after `expires_on`
    threshold_days: int | None = None  # the shortest of THRESHOLDS_DAYS that has been reached
    successor: CatalogModel | None = None

    @property
    def advice(self) -> str:
        """The possible replacement and its prices, as text for operators."""
        if self.successor is None:
            return "No model in the catalog can replace it."
        prices = f"{per_million(self.successor.prompt_usd)} in"
        prices += f", {per_million(self.successor.completion_usd)} out per million tokens"
        return f"Possible replacement: {self.successor.model_id} ({prices})."


def retirements(uses: Iterable[Use], *, today: date) -> list[Retirement]:
    """Return a warning for each model in use that expires soon, is gone or was never listed.

    The most urgent warnings come first. There are none before the first sync of the catalog.
    """
    by_model: dict[str, list[Use]] = {}
    for use in uses:
        by_model.setdefault(use.model_id.strip(), []).append(use)
    found = find_all(by_model)
    offered = list(CatalogModel.objects.filter(vanished_at=None))
    if not offered:
        return []
    warnings = [
        _warning(model_id, some, found.get(model_id), offered, today)
        for model_id, some in by_model.items()
        if _is_a_model(model_id)
    ]
    return sorted((w for w in warnings if w is not None), key=_urgency)


def uses_by_overrides(by_agents: Iterable[Use]) -> list[Use]:
    """Return the uses by overrides among `by_agents`, the result of `uses_by_agents`.

    Without a shared key there are none. If the shared key is for the team's own server, `by_agents`
    is empty, and the overrides are read from the database instead.
    """
    if not settings.OPENROUTER_API_KEY:
        return []
    if settings.SHARED_SERVER != "openrouter":
        return _uses_of_overrides()
    registry = default_registry()
    return [use for use in by_agents if use.who in registry]


def uses_by_agents() -> list[Use]:
    """Return the uses of models by active overrides and by DEFAULT_MODEL.

    Members' own models are not included. The result is empty if the shared key is for the team's
    own server, whose models are not in the catalog.
    """
    if settings.SHARED_SERVER != "openrouter":
        return []
    needs = all_of([agent.needs for agent in default_registry()])
    default = Use(model_id=settings.DEFAULT_MODEL, who="DEFAULT_MODEL", needs=needs)
    return [*_uses_of_overrides(), default]


def _uses_of_overrides() -> list[Use]:
    registry = default_registry()
    return [
        Use(
            model_id=override.model_id,
            who=override.agent_name,
            needs=registry.get(override.agent_name).needs,
        )
        for override in read_snapshot().overrides.values()
        if override.agent_name in registry
    ]


def all_of(needs: Iterable[Needs]) -> Needs:
    """Combine needs into those of a model that must meet all of them."""
    some = list(needs) or [Needs()]
    return Needs(
        json_schema=any(one.json_schema for one in some),
        vision=any(one.vision for one in some),
        context_tokens=max(one.context_tokens for one in some),
        least_output_tokens=max(one.least_output_tokens for one in some),
        most_output_tokens=max(one.most_output_tokens for one in some),
    )


def successor(
    model_id: str, model: CatalogModel | None, needs: Needs, offered: Iterable[CatalogModel]
) -> CatalogModel | None:
    """Return the best replacement for a model, or None.

    The order of preference is: the author's newest model of the same family, then the author's
    other models, then models of other authors, in both cases with the nearest price first. A
    replacement meets the needs, has no expiration date and is not an alias.
    """
    variant = model_id.partition(":")[2]
    old_names = {model_id.partition(":")[0], model.canonical_slug if model else ""}
    candidates = [
        one
        for one in offered
        if one.model_id.partition(":")[0] not in old_names or _is_base_of(one, model_id)
        if one.model_id.partition(":")[2] in ("", variant)
        if not one.alias_target and not one.model_id.startswith("~")
        if not lacks(one, needs)
    ]
    return min(candidates, key=lambda one: _distance(one, model_id, model), default=None)


# --- warnings -------------------------------------------------------------------------------------


def _is_a_model(model_id: str) -> bool:
    """Return whether an id may name a model in OpenRouter's list, which has no presets."""
    return "/" in model_id and not model_id.startswith("@")


def _warning(
    model_id: str,
    uses: list[Use],
    model: CatalogModel | None,
    offered: list[CatalogModel],
    today: date,
) -> Retirement | None:
    known = _known(model_id, model, today)
    if known is None:
        return None
    reason, event, sentence = known
    expires_on = model.expires_on if model is not None and reason is Reason.EXPIRES else None
    days_left = None if expires_on is None else (expires_on - today).days
    return Retirement(
        model_id=model_id,
        used_by=tuple(sorted({use.who for use in uses})),
        reason=reason,
        event_key=":".join(filter(None, (model_id, reason, event))),
        sentence=f"{model_id} {sentence}",
        expires_on=expires_on,
        days_left=days_left,
        threshold_days=None if days_left is None else _threshold(days_left),
        successor=successor(model_id, model, all_of(use.needs for use in uses), offered),
    )


def _known(
    model_id: str, model: CatalogModel | None, today: date
) -> tuple[Reason, str, str] | None:
    """Return a warning's reason, its part of the event key and its sentence; None = no warning."""
    if model is None:
        return Reason.UNKNOWN, "", "isn't in OpenRouter's catalog."
    if model.vanished_at is not None:
        day = f"{model.vanished_at:%Y-%m-%d}"
        return Reason.VANISHED, day, f"hasn't been offered since {day}."
    if model.expires_on is None:
        return None
    days_left = (model.expires_on - today).days
    threshold = _threshold(days_left)
    if threshold is None:
        return None
    day = f"{model.expires_on:%Y-%m-%d}"
    return Reason.EXPIRES, f"{day}:{threshold}", f"retires on {day}, {_in_words(days_left)}."


def _threshold(days_left: int) -> int | None:
    return next((days for days in THRESHOLDS_DAYS if days_left <= days), None)


def _in_words(days_left: int) -> str:
    if days_left < 0:
        return "which has passed"
    return {0: "today", 1: "tomorrow"}.get(days_left, f"in {days_left} days")


def _urgency(warning: Retirement) -> tuple[int, int, str]:
    order = list(Reason).index(warning.reason)
    is_gone = warning.reason is not Reason.EXPIRES
    return (not is_gone, order if is_gone else warning.days_left or 0, warning.model_id)


# --- successors -----------------------------------------------------------------------------------


def _is_base_of(one: CatalogModel, model_id: str) -> bool:
    """Return whether this is the base model of `model_id`, which has a variant."""
    return ":" in model_id and one.model_id == model_id.partition(":")[0]


def _distance(
    one: CatalogModel, model_id: str, model: CatalogModel | None
) -> tuple[int, float, float, str]:
    """Return a sort key of replacements for a model; the smallest is the best one."""
    age = -one.created.timestamp() if one.created else 0.0
    price = _price_distance(one, model)
    is_authors = one.author == model_id.removeprefix("~").partition("/")[0]
    if is_authors and family(one.model_id) == family(model_id):
        return 0, age, price, one.model_id
    return (1 if is_authors else 2), price, age, one.model_id


def family(model_id: str) -> frozenset[str]:
    """Return the parts of a name shared by all versions: claude and sonnet, or gpt and mini."""
    slug = model_id.partition("/")[2].partition(":")[0].casefold()
    parts = (part for part in slug.split("-") if not _VERSION.match(part))
    names = {_TRAILING_VERSION.sub("", part) for part in parts}
    return frozenset(names - _NOT_FAMILY - {""})


def _price_distance(one: CatalogModel, model: CatalogModel | None) -> float:
    """Return the distance of two prices: the absolute value of the logarithm of their ratio."""
    prices = [_price(one), None if model is None else _price(model)]
    if prices[1] is None:
        return 0.0
    if prices[0] is None:
        return math.inf
    return abs(math.log((prices[0] + 1e-9) / (prices[1] + 1e-9)))


def _price(model: CatalogModel) -> float | None:
    if model.prompt_usd is None or model.completion_usd is None:
        return None
    return float(model.prompt_usd + model.completion_usd)
