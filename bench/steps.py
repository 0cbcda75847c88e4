"""What a step of ours adds to the bare call, beside what others add without keeping a record.

The model is a stand-in that answers at once (`bench.standin`). PostgreSQL waits for the disk here,
as it does in an installation.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.before import code_before
from bench.contest import ROOT, Contender, ours, peer, results_of
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
        postgres(fsync="on") as database_with_budgets,
        postgres(fsync="on") as database_before,
        code_before() as before,
        tempfile.TemporaryDirectory(prefix="observatory-bench-") as folder,
    ):
        show(
            "One call, and one step",
            results_of(
                _contenders(address, database.url, folder)
                + _with_budgets(address, database_with_budgets.url, folder)
                + _before(address, database_before.url, folder, before)
            ),
            COLUMNS,
        )


def _contenders(address: str, postgres_url: str, folder: str) -> list[Contender]:
    return [
        ours(BARE, "calls", "transport", BENCH_STAND_IN=address),
        ours("httpx as it comes", "calls", "httpx", BENCH_STAND_IN=address),
        ours("LLMProvider.complete, no record", "calls", "provider", BENCH_STAND_IN=address),
        ours("a step's rows by sqlite3 alone, no call", "floor", f"{folder}/floor.sqlite3"),
        _step("a full step, SQLite", address, f"sqlite:///{folder}/bench.sqlite3", f"{folder}/a"),
        _step("a full step, PostgreSQL", address, postgres_url, f"{folder}/b"),
        peer("openai SDK", "with_openai", address),
        peer("litellm", "with_litellm", address),
        peer("pydantic-ai", "with_pydantic_ai", address),
    ]


def _with_budgets(address: str, postgres_url: str, folder: str) -> list[Contender]:
    """Return a full step whose call counts for two budgets."""
    sqlite_url = f"sqlite:///{folder}/budgets.sqlite3"
    return [
        _step("with two budgets, SQLite", address, sqlite_url, f"{folder}/c", has_budgets=True),
        _step(
            "with two budgets, PostgreSQL", address, postgres_url, f"{folder}/d", has_budgets=True
        ),
    ]


def _before(
    address: str, postgres_url: str, folder: str, roots: Mapping[str, Path]
) -> list[Contender]:
    return [
        _step(f"{name}, {database}", address, url, f"{folder}/{database}", root)
        for name, root in roots.items()
        for database, url in (
            ("SQLite", f"sqlite:///{folder}/before.sqlite3"),
            ("PostgreSQL", postgres_url),
        )
    ]


def _step(
    name: str,
    address: str,
    database_url: str,
    cache: str,
    root: Path = ROOT,
    *,
    has_budgets: bool = False,
) -> Contender:
    return ours(
        name,
        "steps",
        "{}",
        *(["budgets"] if has_budgets else []),
        root=root,
        BENCH_STAND_IN=address,
        DATABASE_URL=database_url,
        CACHE_URL=f"file://{cache}",
    )
