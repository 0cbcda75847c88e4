"""A model's prices from the catalog: as text for people, and the cost of a number of tokens.

The list's rules for long prompts and hours of the day are applied as OpenRouter documents them: a
rule applies if all its conditions hold, and if several rules apply, the last one that names a price
determines that price.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_UP, Decimal
from typing import Any

from agents.catalog.entries import WEEKDAYS
from agents.llm.limits import MaxPrice
from agents.models import CatalogModel

MILLION = 1_000_000
MARGIN = Decimal("1.25")  # providers of one model differ a little in price
MICRODOLLAR = Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Dollars per token, and per request."""

    prompt: Decimal
    completion: Decimal
    request: Decimal


def estimated_cost_usd(
    model: CatalogModel, input_tokens: int, output_tokens: int, *, at: datetime | None = None
) -> Decimal | None:
    """Return the cost of one request in dollars; None if the model's price is not known.

    Rules that depend on day or hour are applied only if `at` is given.
    """
    prices = _prices(model, input_tokens, at)
    if prices is None:
        return None
    return prices.request + prices.prompt * input_tokens + prices.completion * output_tokens


def per_million(price_usd: Decimal | None) -> str:
    """Return a price per token as dollars per million tokens, for people: "$0.25", "free"."""
    if price_usd is None:
        return "price not known"
    if price_usd == 0:
        return "free"
    dollars = price_usd * MILLION
    # At least two decimals, and as many as the price has: "$3.00", "$0.0375".
    digits = max(2, -_exponent(dollars))
    return f"${dollars:,.{digits}f}"


def max_price(model: CatalogModel) -> MaxPrice | None:
    """Return the maximum price to allow for calls of the model; None if no price is known.

    It is the highest listed price plus a quarter, in dollars per million tokens. It is rounded up,
    because a limit below the model's own price would exclude the model.
    """
    prompt, completion = _highest(model, "prompt"), _highest(model, "completion")
    if prompt is None or completion is None:
        return None
    request = _highest(model, "request")
    return MaxPrice(
        prompt=_raised(prompt * MILLION),
        completion=_raised(completion * MILLION),
        request=_raised(request) if request else None,
    )


def _highest(model: CatalogModel, name: str) -> Decimal | None:
    usual: Decimal | None = getattr(model, f"{name}_usd")
    if usual is None:
        return None
    return max([usual, *(Decimal(rule[name]) for rule in model.price_overrides if name in rule)])


def _raised(dollars: Decimal) -> Decimal:
    return (dollars * MARGIN).quantize(MICRODOLLAR, ROUND_UP).normalize() + 0


def price_lines(model: CatalogModel) -> list[str]:
    """Return the model's prices as text: one line for the base prices and one for each rule."""
    if model.prompt_usd is None or model.completion_usd is None:
        return ["price not known"]
    if not (model.prompt_usd or model.completion_usd or model.request_usd):
        return ["free"]
    usual = f"{_in_out(model.prompt_usd, model.completion_usd)} per million tokens"
    if model.request_usd:
        usual += f", and ${model.request_usd.normalize():f} a request"
    return [usual, *_rule_lines(model)]


def _prices(model: CatalogModel, input_tokens: int, at: datetime | None) -> Prices | None:
    if model.prompt_usd is None or model.completion_usd is None:
        return None
    named: dict[str, Decimal] = {
        "prompt": model.prompt_usd,
        "completion": model.completion_usd,
        "request": model.request_usd or Decimal(0),
    }
    for rule in model.price_overrides:
        if _holds(rule, input_tokens, at):
            named |= {name: Decimal(rule[name]) for name in named if name in rule}
    return Prices(**named)


def _holds(rule: Mapping[str, Any], input_tokens: int, at: datetime | None) -> bool:
    if input_tokens < rule.get("min_prompt_tokens", 0):
        return False
    if "utc_start" not in rule and "utc_days" not in rule:
        return True
    if at is None:
        return False
    moment = at.astimezone(UTC)
    if WEEKDAYS[moment.weekday()] not in rule.get("utc_days", WEEKDAYS):
        return False
    return "utc_start" not in rule or _is_between(
        str(rule["utc_start"]), str(rule["utc_end"]), f"{moment:%H%M}"
    )


def _is_between(start: str, end: str, hour: str) -> bool:
    """Return whether a time of day (HHMM) lies between two others; the range may wrap midnight."""
    return start <= hour < end if start <= end else hour >= start or hour < end


def _rule_lines(model: CatalogModel) -> Iterator[str]:
    for rule in model.price_overrides:
        prompt, completion = (
            Decimal(rule[name]) if name in rule else usual
            for name, usual in (
                ("prompt", model.prompt_usd),
                ("completion", model.completion_usd),
            )
        )
        yield f"{_conditions(rule)}: {_in_out(prompt, completion)}"


def _conditions(rule: Mapping[str, Any]) -> str:
    conditions = []
    if tokens := rule.get("min_prompt_tokens"):
        conditions.append(f"from {tokens:,} input tokens")
    if "utc_start" in rule:
        start, end = (f"{rule[name][:2]}:{rule[name][2:]}" for name in ("utc_start", "utc_end"))
        conditions.append(f"{start} to {end} UTC")
    if "utc_days" in rule:
        conditions.append("on " + ", ".join(day[:3].title() for day in rule["utc_days"]))
    return ", ".join(conditions) or "always"


def _in_out(prompt_usd: Decimal | None, completion_usd: Decimal | None) -> str:
    return f"{per_million(prompt_usd)} in, {per_million(completion_usd)} out"


def _exponent(amount: Decimal) -> int:
    exponent = amount.normalize().as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0
