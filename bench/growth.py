"""How a step's time grows with what an installation holds, and a process's memory with its runs."""

from __future__ import annotations

import json
import tempfile

from bench.contest import Contender, ours, results_of, running
from bench.machine import ROUNDS, sized
from bench.standin import running as running_stand_in
from bench.table import Column, show

EMPTY = "empty"
RUNS = sized(10_000, 30)
COLUMNS = (
    Column(kind="p50_us", heading="a step, p50 µs", ratio_to=EMPTY),
    Column(kind="per_s", heading="at 50, steps/s"),
)
FILLINGS: tuple[dict[str, int], ...] = sized(
    ({"agents": 200}, {"members": 10_000}, {"runs": 100_000}),
    ({"agents": 5, "members": 50, "runs": 50},),
)


def main() -> None:
    """Measure and print."""
    with (
        running_stand_in() as address,
        tempfile.TemporaryDirectory(prefix="observatory-bench-") as folder,
    ):

        def contender(module: str, **filling: int) -> Contender:
            return ours(
                ", ".join(f"{count:,} {what}" for what, count in filling.items()) or EMPTY,
                module,
                json.dumps(filling),
                BENCH_STAND_IN=address,
                DATABASE_URL=f"sqlite:///{folder}/{module}-{'-'.join(filling)}.sqlite3",
                CACHE_URL=f"file://{folder}/{module}-{'-'.join(filling)}",
            )

        contenders = [contender("steps"), *(contender("steps", **each) for each in FILLINGS)]
        show("A step of an installation that has grown, SQLite", results_of(contenders), COLUMNS)
        _show_memory(contender("memory"))


def _show_memory(one: Contender) -> None:
    print(f"\nA process that has done {RUNS:,} runs, SQLite\n")
    print("| runs | RSS MB | runs/s since the line before |")
    print("|---|---|---|")
    with running(one) as process:
        process.hear()
        for part in range(1, ROUNDS + 1):
            heard = process.ask(str(RUNS // ROUNDS))
            print(
                f"| {part * RUNS // ROUNDS:,} | {heard['rss_mb']:.1f} | {heard['per_s']:.1f} |",
                flush=True,
            )
