"""Dollars as whole numbers of picodollars, which add up exactly, and back."""

from __future__ import annotations

from decimal import ROUND_UP, Decimal

PICODOLLARS = 10**12  # in a dollar


def picodollars(dollars: Decimal) -> int:
    """Return dollars as whole picodollars, rounded up."""
    return int((dollars * PICODOLLARS).to_integral_value(ROUND_UP))


def dollars(picousd: int) -> Decimal:
    """Return picodollars as dollars, exactly."""
    return Decimal(picousd).scaleb(-12)
