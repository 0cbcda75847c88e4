"""Parse OpenRouter's model lists without trusting them: values are typed, bounded and storable.

An entry with an implausible value is skipped as a whole and counted, because a partial entry could
offer a model at a wrong price. Its id still counts as listed, so that one bad value does not make
the model vanish.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext
from typing import Any

from agents.llm import replies
from agents.llm.model_match import NEWEST
from agents.models import MODEL_ID_SHAPE

MAX_ENTRIES = 10_000  # the list had some 400 in 2026
MAX_ITEMS = 100  # in any list inside an entry
MAX_TOKENS = 10**9
MAX_ID_CHARS = 200
MAX_NAME_CHARS = 200
LATEST_CREATED = 4_102_444_800  # the year 2100, in seconds since the epoch
PRICE_DIGITS = Decimal("1e-15")
NEVER = date(2090, 1, 1)  # later expiration dates, such as 2098-12-31, mean that a model stays
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DEPENDS = Decimal(-1)  # the price of routers such as openrouter/auto

_MODEL_ID = re.compile(MODEL_ID_SHAPE)
_WORD = re.compile(r"[A-Za-z0-9_.+-]{1,60}\Z")
_HOUR = re.compile(r"([01]\d|2[0-3])[0-5]\d\Z")
_PRICE = re.compile(r"-?\d{1,30}(\.\d{1,40})?([eE]-?\d{1,2})?\Z")
_ROUTER = re.compile(r"\brouter\b", re.IGNORECASE)
_CONDITIONS = ("min_prompt_tokens", "utc_start", "utc_end", "utc_days")
_PRICES = ("prompt", "completion", "request")


class NotACatalogue(ValueError):
    """The response is not a valid list of models or endpoints, or not a valid entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model as listed; the fields are those of `CatalogModel`."""

    model_id: str
    name: str
    canonical_slug: str
    alias_target: str
    context_tokens: int | None
    max_completion_tokens: int | None
    prompt_usd: Decimal | None
    completion_usd: Decimal | None
    request_usd: Decimal | None
    price_overrides: list[dict[str, Any]]
    input_modalities: list[str]
    output_modalities: list[str]
    supported_parameters: list[str]
    expires_on: date | None
    created: datetime | None
    is_router: bool

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Entry:
        """Parse one entry of the list.

        Raises:
            NotACatalogue: a value has the wrong type or is implausible.
        """
        pricing = _object(payload.get("pricing"))
        architecture = _object(payload.get("architecture"))
        model_id = _model_id(payload.get("id"))
        name = _text(payload.get("name")) or model_id
        alias_target = _model_id(_object(payload.get("alias_target")).get("slug"), optional=True)
        return cls(
            model_id=model_id,
            name=name,
            canonical_slug=_model_id(payload.get("canonical_slug"), optional=True),
            alias_target=alias_target,
            context_tokens=_count(payload.get("context_length")),
            max_completion_tokens=_count(
                _object(payload.get("top_provider")).get("max_completion_tokens")
            ),
            prompt_usd=_price(pricing.get("prompt")),
            completion_usd=_price(pricing.get("completion")),
            request_usd=_price(pricing.get("request")),
            price_overrides=_price_overrides(pricing.get("overrides")),
            input_modalities=_words(architecture.get("input_modalities")),
            output_modalities=_words(architecture.get("output_modalities")),
            supported_parameters=_words(payload.get("supported_parameters")),
            expires_on=_date(payload.get("expiration_date")),
            created=_moment(payload.get("created")),
            is_router=(
                not alias_target
                and not model_id.startswith(NEWEST)
                and _is_router(name, architecture, pricing)
            ),
        )

    def as_fields(self) -> dict[str, Any]:
        """Return the values by column name."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A parsed model list: its valid entries by id, and how much of it was invalid."""

    entries: Mapping[str, Entry]
    unreadable_ids: frozenset[str] = field(default_factory=frozenset)  # ids of invalid entries
    skipped: int = 0  # number of invalid or duplicate entries
    is_whole: bool = True  # False: the list has a further page

    @classmethod
    def from_payload(cls, body: object) -> Listing:
        """Parse the body of `GET /models`; of entries with the same id, the first is used.

        Raises:
            NotACatalogue: the body is no list, has no valid entry, or more than `MAX_ENTRIES`.
        """
        content = replies.mapping(body)
        listed = content.get("data")
        if not isinstance(listed, list):
            raise NotACatalogue("it holds no list of models")
        if len(listed) > MAX_ENTRIES:
            raise NotACatalogue(f"it lists {len(listed):,} models, more than can be true")
        entries: dict[str, Entry] = {}
        unreadable: set[str] = set()
        skipped = 0
        for payload in listed:
            try:
                entry = Entry.from_payload(_object(payload))
            except NotACatalogue:
                skipped += 1
                unreadable |= _ids_in(payload)
                continue
            skipped += entry.model_id in entries
            entries.setdefault(entry.model_id, entry)
        if not entries:
            raise NotACatalogue(f"none of its {len(listed):,} entries can be read")
        return cls(
            entries=entries,
            unreadable_ids=frozenset(unreadable - entries.keys()),
            skipped=skipped,
            is_whole=not replies.mapping(content.get("links")).get("next"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFacts:
    """Facts from the endpoints that serve one model; the fields are those of `CatalogModel`."""

    endpoints: int
    endpoints_with_schema: int
    uptime_percent: float | None

    @classmethod
    def from_payload(cls, body: object) -> EndpointFacts:
        """Parse the body of a model's endpoint list; invalid endpoints are left out.

        Raises:
            NotACatalogue: the body is no list of endpoints.
        """
        listed = replies.mapping(replies.mapping(body).get("data")).get("endpoints")
        if not isinstance(listed, list) or len(listed) > MAX_ENTRIES:
            raise NotACatalogue("it holds no list of endpoints")
        endpoints = [endpoint for endpoint in listed if isinstance(endpoint, dict)]
        uptimes = [uptime for endpoint in endpoints if (uptime := _uptime(endpoint)) is not None]
        return cls(
            endpoints=len(endpoints),
            endpoints_with_schema=sum(_takes_schema(endpoint) for endpoint in endpoints),
            uptime_percent=max(uptimes, default=None),
        )


def _ids_in(payload: object) -> set[str]:
    try:
        return {_model_id(replies.mapping(payload).get("id"))}
    except NotACatalogue:
        return set()


def _takes_schema(endpoint: Mapping[str, Any]) -> bool:
    parameters = endpoint.get("supported_parameters")
    return isinstance(parameters, list) and "structured_outputs" in parameters


def _uptime(endpoint: Mapping[str, Any]) -> float | None:
    """Return the uptime in percent for the longest period reported; None if there is none."""
    for name in ("uptime_last_1d", "uptime_last_30m"):
        uptime = replies.number(endpoint.get(name))
        if uptime is not None and 0 <= uptime <= 100:
            return round(float(uptime), 2)
    return None


# --- values ---------------------------------------------------------------------------------------


def _object(value: object) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise NotACatalogue("not an object")
    return replies.mapping(value)


def _model_id(value: object, *, optional: bool = False) -> str:
    if optional and value in (None, ""):
        return ""
    if not isinstance(value, str) or len(value) > MAX_ID_CHARS or not _MODEL_ID.match(value):
        raise NotACatalogue("not a model id")
    return value


def _text(value: object) -> str:
    if value is not None and not isinstance(value, str):
        raise NotACatalogue("not a text")
    return replies.cleaned((value or "")[: 4 * MAX_NAME_CHARS])[:MAX_NAME_CHARS]


def _count(value: object) -> int | None:
    """Return a number of tokens; None if it is missing or 0, which the list uses for unknown."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS:
        raise NotACatalogue("not a number of tokens")
    return value or None


def _price(value: object) -> Decimal | None:
    """Return a price in dollars; None if there is none or it depends on the chosen model."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise NotACatalogue("not a price")
    if isinstance(value, str) and not _PRICE.match(value):
        raise NotACatalogue("not a price")
    try:
        amount = Decimal(value)
    except InvalidOperation as error:
        raise NotACatalogue("not a price") from error
    if not amount.is_finite():  # also because ordering comparisons with NaN raise an error
        raise NotACatalogue("not a price")
    if amount == DEPENDS:
        return None
    if not 0 <= amount < 1:
        raise NotACatalogue("not a price")
    with localcontext(prec=60):
        amount = amount.quantize(PRICE_DIGITS, ROUND_HALF_EVEN).copy_abs()  # abs: may be -0
    if amount >= 1:
        raise NotACatalogue("not a price")
    return amount


def _is_router(name: str, architecture: Mapping[str, Any], pricing: Mapping[str, Any]) -> bool:
    """Return whether an entry is a router, which forwards requests to a model of its choice.

    Its prices must have been validated. The list has no field for routers. In 290 lists from the
    summer of 2026, a router had the tokenizer "Router" (as aliases have), the price -1 for
    "depends", or at least the word "router" in its name, such as switchpoint/router. No other entry
    had any of these.
    """
    return (
        architecture.get("tokenizer") == "Router"
        or any(name in pricing and Decimal(pricing[name] or 0) == DEPENDS for name in _PRICES)
        or _ROUTER.search(name) is not None
    )


def _words(value: object) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MAX_ITEMS:
        raise NotACatalogue("not a short list")
    for word in value:
        if not isinstance(word, str) or not _WORD.match(word):
            raise NotACatalogue("not a word")
    return value


def _date(value: object) -> date | None:
    if value is None:
        return None
    try:
        day = date.fromisoformat(value if isinstance(value, str) and len(value) == 10 else "")
    except ValueError as error:
        raise NotACatalogue("not a date") from error
    return day if day < NEVER else None


def _moment(value: object) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LATEST_CREATED:
        raise NotACatalogue("not a time")
    return datetime.fromtimestamp(value, UTC)


def _price_overrides(value: object) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MAX_ITEMS:
        raise NotACatalogue("not a short list")
    return [rule for override in value if (rule := _price_rule(_object(override)))]


def _price_rule(override: Mapping[str, Any]) -> dict[str, Any]:
    """Return a price rule for storage, with prices as strings; empty if it is not understood.

    A rule with an unknown condition must not be mistaken for a rule without conditions.
    """
    if not all(name in (*_PRICES, *_CONDITIONS) or _is_price(override[name]) for name in override):
        return {}
    try:
        amounts = {name: _price(override.get(name)) for name in _PRICES}
        conditions = _conditions(override)
    except NotACatalogue:
        return {}
    rule = {name: f"{amount:f}" for name, amount in amounts.items() if amount is not None}
    return rule and rule | conditions


def _is_price(value: object) -> bool:
    """Return whether an unknown member of a rule is a price, for something not used here."""
    return isinstance(value, str) and _PRICE.match(value) is not None


def _conditions(override: Mapping[str, Any]) -> dict[str, Any]:
    conditions: dict[str, Any] = {}
    if "min_prompt_tokens" in override:
        conditions["min_prompt_tokens"] = _count(override["min_prompt_tokens"]) or 0
    if "utc_start" in override or "utc_end" in override:
        conditions["utc_start"] = _hour(override.get("utc_start"))
        conditions["utc_end"] = _hour(override.get("utc_end"))
    if "utc_days" in override:
        conditions["utc_days"] = _days(override["utc_days"])
    return conditions


def _days(value: object) -> list[str]:
    days = _words(value)
    if not days or not set(days) <= set(WEEKDAYS):
        raise NotACatalogue("not days of the week")
    return [day for day in WEEKDAYS if day in days]


def _hour(value: object) -> str:
    is_number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2400
    text = f"{value:04d}" if is_number else value
    if not isinstance(text, str) or not _HOUR.match(text):
        raise NotACatalogue("not an hour of the day")
    return text
