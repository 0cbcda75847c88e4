"""Results as a table: medians over the rounds, how far they spread, and ratios within the run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.contest import Result
from bench.machine import ROUNDS, described


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One kind of figure."""

    kind: str
    heading: str
    digits: int = 0
    ratio_to: str = ""  # the name of the result that is 1.0


def show(title: str, results: Sequence[Result], columns: Sequence[Column]) -> None:
    """Print the results; ± is half of what lies between the lowest and the highest round."""
    lines = [_heading(columns), *(_line(result, results, columns) for result in results)]
    widths = [max(len(line[at]) for line in lines if at < len(line)) for at in range(len(lines[0]))]
    print(f"\n{title}\nmedians of {ROUNDS} rounds; {described()}\n")
    for number, line in enumerate(lines):
        cells = [
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=False))
        ]
        print(f"| {' | '.join(cells)} |")
        if number == 0:
            print("|".join(["", *("-" * (width + 2) for width in widths), ""]))
    versions = {result.versions for result in results} - {""}
    print(f"\n{'; '.join(sorted(versions))}", flush=True)


def _heading(columns: Sequence[Column]) -> list[str]:
    heading = [""]
    for column in columns:
        heading += [column.heading, "±", *(["times"] if column.ratio_to else [])]
    return heading


def _line(result: Result, results: Sequence[Result], columns: Sequence[Column]) -> list[str]:
    if result.missing:
        return [f"{result.name} ({result.missing})", *[""] * (len(_heading(columns)) - 1)]
    cells = [result.name]
    for column in columns:
        figures = result.figures.get(column.kind)
        cells += _cells(figures, column) if figures else ["", ""]
        if column.ratio_to:
            cells.append(_ratio(result, results, column) if figures else "")
    return cells


def _cells(figures: Sequence[float], column: Column) -> list[str]:
    spread = (max(figures) - min(figures)) / 2
    return [f"{number:,.{column.digits}f}" for number in (statistics.median(figures), spread)]


def _ratio(result: Result, results: Sequence[Result], column: Column) -> str:
    base = next(one.figures[column.kind] for one in results if one.name == column.ratio_to)
    return f"{statistics.median(result.figures[column.kind]) / statistics.median(base):.2f}"
