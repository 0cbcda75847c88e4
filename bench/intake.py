"""How fast updates are taken in: ours committed before they are acknowledged, others' in memory.

Ours answers through a limiter that keeps Telegram's own bounds, so how fast it replies is not for
this table; what others do with one reply each is there to tell what their figure without one means.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack

from bench.contest import Contender, ours, peer, results_of
from bench.standin import running
from bench.table import Column, show
from bench.telegram import TOKEN
from tests.servers import postgres

COLUMNS = (
    Column(kind="per_s", heading="updates/s", ratio_to="Observatory, durable, SQLite"),
    Column(kind="cpu_ms", heading="CPU ms/update", digits=2),
)


def main() -> None:
    """Measure and print."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="observatory-bench-"))
        database = stack.enter_context(postgres(fsync="on"))

        def address() -> str:  # of a stand-in of one's own: updates are handed out once
            return stack.enter_context(running("bench.telegram"))

        def durable(name: str, database_url: str) -> Contender:
            return ours(name, "intake", address(), DATABASE_URL=database_url)

        contenders = [
            durable("Observatory, durable, SQLite", f"sqlite:///{folder}/bench.sqlite3"),
            durable("Observatory, durable, PostgreSQL", database.url),
        ]
        for name, script in (("python-telegram-bot", "with_telegram"), ("aiogram", "with_aiogram")):
            for does, words in (("silent", "in memory"), ("reply", "in memory, one reply each")):
                contenders.append(peer(f"{name}, {words}", script, address(), TOKEN, does))
        show("Updates taken in", results_of(contenders), COLUMNS)
