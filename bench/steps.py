"""What a step of ours adds to the bare call, beside what others add without keeping a record.

The model is a stand-in that answers at once (`bench.standin`). PostgreSQL waits for the disk here,
as it does in an installation.
"""

from __future__ import annotations

import tempfile

from bench.contest import Contender, ours, peer, results_of
from bench.standin import running
from bench.table import Column, show
from tests.servers import postgres

BARE = "httpx by hand, our transport"
COLUMNS = (
    Column(kind="p50_us", heading="one at a time, p50 µs", ratio_to=BARE),
    Column(kind="per_s", heading="at 50, calls/s"),
    Column(kind="cpu_ms", heading="CPU ms/call", digits=2),
)


def main() -> None:
    """Measure and print."""
    with (
        running() as address,
        postgres(fsync="on") as database,
        tempfile.TemporaryDirectory(prefix="observatory-bench-") as folder,
    ):
        show(
            "One call, and one step",
            results_of(_contenders(address, database.url, folder)),
            COLUMNS,
        )


def _contenders(address: str, postgres_url: str, folder: str) -> list[Contender]:
    def step(name: str, database_url: str, cache: str) -> Contender:
        return ours(
            name,
            "steps",
            "{}",
            BENCH_STAND_IN=address,
            DATABASE_URL=database_url,
            CACHE_URL=f"file://{folder}/{cache}",
        )

    return [
        ours(BARE, "calls", "transport", BENCH_STAND_IN=address),
        ours("httpx as it comes", "calls", "httpx", BENCH_STAND_IN=address),
        ours("LLMProvider.complete, no record", "calls", "provider", BENCH_STAND_IN=address),
        ours("a step's rows by sqlite3 alone, no call", "floor", f"{folder}/floor.sqlite3"),
        step("a full step, SQLite", f"sqlite:///{folder}/bench.sqlite3", "a"),
        step("a full step, PostgreSQL", postgres_url, "b"),
        peer("openai SDK", "with_openai", address),
        peer("litellm", "with_litellm", address),
        peer("pydantic-ai", "with_pydantic_ai", address),
    ]
