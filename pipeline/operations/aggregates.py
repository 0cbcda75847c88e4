"""Sums and percentiles that can be added up: exact dollars, and times counted in buckets.

The percentiles of parts cannot be combined, so times are counted in buckets, eight per doubling.
This gives a percentile to within 5 %.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection, models
from django.db.models.functions import Cast, Floor, Greatest, Ln
from django.utils import timezone

PER_DOUBLING = 8
DOLLAR_DECIMALS = 12  # as in `LLMCall.cost_usd`


class SumOfUnits(models.Sum):
    """The sum of a column of dollars in units of 10⁻¹²; `dollars` turns it into dollars.

    SQLite stores dollars as floats, whose sum drifts; sums of integers are exact.
    """

    template = f"%(function)s(CAST(ROUND(%(expressions)s * {10**DOLLAR_DECIMALS}) AS BIGINT))"

    def __init__(self, expression: str, **extra: Any) -> None:
        super().__init__(expression, output_field=models.BigIntegerField(), **extra)


def dollars(units: int | Decimal | None) -> Decimal:
    """Convert a `SumOfUnits` to dollars, exactly; 0 for None."""
    return Decimal(units or 0).scaleb(-DOLLAR_DECIMALS)


def database_now() -> datetime:
    """Return the database server's time, or with SQLite this machine's.

    The clocks of the machines that run the bot may differ.
    """
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


class _Milliseconds(models.Func):
    """The length of an interval in ms; SQLite stores microseconds, PostgreSQL an interval type."""

    output_field = models.FloatField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="(%(expressions)s / 1000.0)", **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "(EXTRACT(EPOCH FROM %(expressions)s) * 1000.0)::double precision"
        return self.as_sql(compiler, connection, template=template, **context)


def bucket_of_time(start: str, end: str) -> models.Expression:
    """Return a database expression for the bucket of the time between two columns."""
    length = models.ExpressionWrapper(
        models.F(end) - models.F(start), output_field=models.DurationField()
    )
    milliseconds = Greatest(_Milliseconds(length), models.Value(1.0))
    per_e_fold = models.Value(PER_DOUBLING / math.log(2))
    return Cast(Floor(Ln(milliseconds) * per_e_fold), models.IntegerField())


def percentile_ms(counts: Mapping[int, int], share: float) -> int | None:
    """Return the time in ms within which `share` of the counts lie; None without counts."""
    rank = math.ceil(share * sum(counts.values()))
    for bucket, count in sorted(counts.items()):
        rank -= count
        if rank <= 0:
            return round(2 ** ((bucket + 0.5) / PER_DOUBLING))
    return None


def from_json(counts: Mapping[str, int]) -> Counter[int]:
    """Return the counts of a JSON column, whose keys are strings."""
    return Counter({int(bucket): count for bucket, count in counts.items()})
