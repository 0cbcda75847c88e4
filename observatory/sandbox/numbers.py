"""A number that a JSON schema allows, as one would choose it by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from observatory.sandbox.web import Json

USUAL = Fraction(3)
_BOUND = re.compile(r"\b(minimum|maximum): (-?\d+(?:\.\d+)?)")
SHARES = (Fraction(7, 10), Fraction(6, 10), Fraction(8, 10))  # of the way up, item by item


def number(schema: Json, *, is_integer: bool, index: int) -> int | float:
    """Return a number about seven tenths up its range, on the grid of `multipleOf`.

    Raises:
        ValueError: a bound is no number.
    """
    schema = _told(schema) | schema
    low = _bound(schema, "minimum", "exclusiveMinimum", max)
    high = _bound(schema, "maximum", "exclusiveMaximum", min)
    target = _target(low, high, SHARES[index % len(SHARES)])
    step = Fraction(str(schema["multipleOf"])) if "multipleOf" in schema else None
    if is_integer:
        step = Fraction((step or Fraction(1)).numerator)  # the smallest whole multiple
    if step is None:
        return _readable(target, low, high)
    target = (target // step) * step
    while low is not None and _is_below(target, low, schema):
        target += step
    return int(target) if is_integer else float(target)


def _told(schema: Json) -> Json:
    """Return the bounds a description states in words; vendors' strict schemas have no others."""
    return dict(_BOUND.findall(str(schema.get("description", ""))))


def _bound(
    schema: Json, name: str, exclusive: str, choose: Callable[[list[Fraction]], Fraction]
) -> Fraction | None:
    given = [schema[key] for key in (name, exclusive) if schema.get(key) is not None]
    return choose([Fraction(str(value)) for value in given]) if given else None


def _target(low: Fraction | None, high: Fraction | None, share: Fraction) -> Fraction:
    if low is not None and high is not None:
        return low + (high - low) * share
    if low is not None:
        return low + 1
    return USUAL if high is None else high - 1


def _is_below(target: Fraction, low: Fraction, schema: Json) -> bool:
    exclusive = schema.get("exclusiveMinimum")
    return target < low or (exclusive is not None and target <= Fraction(str(exclusive)))


def _readable(target: Fraction, low: Fraction | None, high: Fraction | None) -> float:
    """Return `target` with two decimals where that keeps it inside its bounds."""
    rounded = Fraction(round(target, 2))
    is_inside = (low is None or rounded > low) and (high is None or rounded < high)
    return float(rounded if is_inside else target)
