"""Charts of cost, latency, errors and tokens over time, by agent or by model."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from agents.display import dollars
from pipeline.operations import usage
from pipeline.operations.aggregates import percentile_ms

MAX_SERIES = 7  # more colors are hard to tell apart; the rest is summed as "others"
OTHERS = "others"
NONE = "no model"
# Okabe and Ito's palette: distinguishable with any color vision, on white and on black.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#8a8a94")
AXIS = "#8a8a94"


@dataclass(frozen=True, slots=True)
class Range:
    """A period up to now, divided into 24 to 30 equal pieces, one per point of a chart."""

    name: str
    title: str
    pieces: int
    piece: timedelta


RANGES = {
    one.name: one
    for one in (
        Range("24h", "24 hours", 24, timedelta(hours=1)),
        Range("7d", "7 days", 28, timedelta(hours=6)),
        Range("30d", "30 days", 30, timedelta(days=1)),
    )
}
DIMENSIONS = {"agent": "By agent", "model": "By model"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart: title, data and options for the theme's charts, and its totals as a sentence."""

    title: str
    kind: str  # "bar" or "line"
    data: str  # JSON
    options: str  # JSON
    sentence: str


Series = dict[str, list[usage.UsageTotals]]


def charts(over: Range, dimension: str, *, now: datetime) -> list[Chart]:
    """Return one chart per measure for the period up to now, with a series per agent or model."""
    starts = _starts(over, now)
    series = _series(over, dimension, starts, now)
    labels = [_label(over, start) for start in starts]
    return [
        Chart(
            title=measure.title,
            kind=measure.kind,
            data=json.dumps({"labels": labels, "datasets": list(_datasets(series, measure))}),
            options=json.dumps(_options(measure, has_legend=len(series) > 1)),
            sentence=_sentence(series, measure, over),
        )
        for measure in MEASURES
    ]


# --- what is measured ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measure:
    title: str
    kind: str
    of: Callable[[usage.UsageTotals], float | None]
    words: Callable[[float], str]
    is_count: bool = False


def _p95_s(totals: usage.UsageTotals) -> float | None:
    ms = percentile_ms(totals.step_times, 0.95)
    return None if ms is None else ms / 1000


MEASURES = (
    _Measure(
        title="Cost ($)",
        kind="bar",
        of=lambda totals: float(totals.cost_usd),
        words=lambda value: dollars(Decimal(value)),
    ),
    _Measure(
        title="p95 latency (s)",
        kind="line",
        of=_p95_s,
        words=lambda value: f"{value:.1f} s",
    ),
    _Measure(
        title="Failed steps and calls",
        kind="bar",
        of=lambda totals: totals.failed_steps + totals.failed_calls,
        is_count=True,
        words=lambda value: f"{value:,.0f}",
    ),
    _Measure(
        title="Tokens", kind="bar", of=lambda totals: totals.tokens, words=lambda v: f"{v:,.0f}"
    ),
)


# --- series -------------------------------------------------------------------------------------


def _starts(over: Range, now: datetime) -> list[datetime]:
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    last = day + (hour - day) // over.piece * over.piece
    return [last - over.piece * back for back in reversed(range(over.pieces))]


def _series(over: Range, dimension: str, starts: list[datetime], now: datetime) -> Series:
    found: defaultdict[str, list[usage.UsageTotals]] = defaultdict(
        lambda: [usage.UsageTotals() for _ in starts]
    )
    for key, totals in usage.rollups(starts[0], now=now, in_days=over.piece >= usage.DAY):
        name = key.agent if dimension == "agent" else key.model_id or NONE
        piece = (key.starts_at - starts[0]) // over.piece
        # Machines' clocks differ: usage dated in the next hour goes into the last piece.
        found[name][min(piece, len(starts) - 1)].add(totals)
    return _most_used(found)


def _most_used(found: Series) -> Series:
    """Return the busiest series, sorted by name, and the sum of the rest as "others"."""
    used = Counter({name: sum(t.steps + t.calls for t in row) for name, row in found.items()})
    kept = {name for name, _ in used.most_common(MAX_SERIES)}
    series = {name: found[name] for name in sorted(kept)}
    for name in found.keys() - kept:
        others = series.setdefault(OTHERS, [usage.UsageTotals() for _ in found[name]])
        for sum_of_all, totals in zip(others, found[name], strict=True):
            sum_of_all.add(totals)
    return series


def _datasets(series: Series, measure: _Measure) -> Iterator[dict[str, Any]]:
    for (name, row), colour in zip(series.items(), COLOURS, strict=False):
        yield {
            "label": name,
            "data": [measure.of(totals) for totals in row],
            "backgroundColor": colour,
            "borderColor": colour,
        }


def _sentence(series: Series, measure: _Measure, over: Range) -> str:
    """Return the chart's totals as a sentence, for people who cannot see it."""
    parts = []
    for name, row in series.items():
        sum_of_all = usage.UsageTotals()
        for totals in row:
            sum_of_all.add(totals)
        value = measure.of(sum_of_all)
        parts.append(f"{name} {'none' if value is None else measure.words(value)}")
    return f"{measure.title}, last {over.title}: {', '.join(parts) or 'no activity'}."


def _options(measure: _Measure, *, has_legend: bool) -> dict[str, Any]:
    is_stacked = measure.kind == "bar"
    axis = {"ticks": {"color": AXIS, "maxTicksLimit": 8}, "grid": {"display": False}}
    return {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "spanGaps": True,
        "elements": {"point": {"radius": 2}, "line": {"borderWidth": 2}},
        "plugins": {
            "legend": {
                "display": has_legend,
                "position": "bottom",
                "align": "start",
                "labels": {"color": AXIS, "boxWidth": 10, "boxHeight": 10},
            }
        },
        "scales": {
            "x": {**axis, "stacked": is_stacked},
            "y": {
                "ticks": {"color": AXIS, **({"precision": 0} if measure.is_count else {})},
                "grid": {"display": True},
                "stacked": is_stacked,
                "beginAtZero": True,
            },
        },
    }


def _label(over: Range, start: datetime) -> str:
    if over.piece >= usage.DAY:
        return f"{start:%d %b}"  # days are in UTC
    local = timezone.localtime(start)
    return f"{local:%H:%M}" if over.piece == usage.HOUR else f"{local:%a %H:%M}"
