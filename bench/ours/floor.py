"""What durability alone costs: a step's rows written by sqlite3 itself, without ORM or a call.

As many statements and bytes as `pipeline.journal.rows` has for a step, in one transaction, at whose
end the disk is waited for. No record that is written this way can take less.
"""

from __future__ import annotations

import itertools
import sqlite3
import statistics
import sys
import time
from uuid import uuid4

from bench.peers.laps import ALONE, Figures, serve

TABLES = """
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE texts (id TEXT PRIMARY KEY, text TEXT);
    CREATE TABLE runs (id TEXT PRIMARY KEY, cost REAL);
    CREATE TABLE steps (id TEXT PRIMARY KEY, run TEXT, output TEXT);
    CREATE TABLE calls (id TEXT PRIMARY KEY, step TEXT, output TEXT, cost REAL);
    CREATE INDEX steps_of_run ON steps (run);
    CREATE INDEX calls_of_step ON calls (step);
    INSERT INTO runs VALUES ('run', 0)"""
TEXT = "A text of a prompt or an answer. " * 30


def main() -> None:
    """Take part in the contest; the command line names the file."""
    with sqlite3.connect(sys.argv[2], isolation_level=None) as database:
        database.executescript(TABLES)
        serve(lambda: _measured(database), "Django")
    database.close()


def _measured(database: sqlite3.Connection) -> Figures:
    took_us = []
    began, began_cpu = time.perf_counter(), time.process_time()
    for _ in range(ALONE):
        step_began = time.perf_counter()
        _step(database)
        took_us.append((time.perf_counter() - step_began) * 1e6)
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    return {
        "p50_us": statistics.median(took_us),
        "per_s": ALONE / took_s,
        "cpu_ms": cpu_s * 1000 / ALONE,
    }


def _step(database: sqlite3.Connection) -> None:
    names = map("{}-{}".format, itertools.repeat(uuid4().hex), itertools.count())
    step, call = next(names), next(names)
    keep = ("INSERT OR IGNORE INTO texts VALUES (?, ?)", (next(names), TEXT))
    look = ("SELECT * FROM steps WHERE id = ?", (step,))
    parts = (
        (look, look, keep, ("INSERT INTO steps VALUES (?, 'run', NULL)", (step,))),
        (look, keep, keep, ("INSERT INTO calls VALUES (?, ?, NULL, 0)", (call, step))),
        (
            *(look, look, keep),
            ("UPDATE calls SET output = ?, cost = 0.001 WHERE id = ?", (TEXT[:40], call)),
            ("UPDATE runs SET cost = cost + 0.001 WHERE id = 'run'", ()),
        ),
        (*(keep, keep, look), ("UPDATE steps SET output = ? WHERE id = ?", (TEXT[:40], step))),
    )
    database.execute("BEGIN IMMEDIATE")
    for sql, values in itertools.chain.from_iterable(parts):
        name = (next(names), TEXT) if sql == keep[0] else values
        database.execute(sql, name).fetchall()
    database.execute("COMMIT")
