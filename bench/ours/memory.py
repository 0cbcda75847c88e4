"""Runs in one process, as many as each line of the input says, and the memory that it then has."""

from __future__ import annotations

import asyncio
import json
import sys

import psutil

from bench.ours.steps import Bench
from bench.peers.laps import at_once


def main() -> None:
    """Do as the input says."""
    bench = Bench(has_budgets=False)
    process = psutil.Process()
    print(json.dumps({"versions": ""}), flush=True)
    with asyncio.Runner() as loop:
        for line in sys.stdin:
            figures = loop.run(at_once(bench.run, int(line)))
            rss_mb = process.memory_info().rss / 2**20
            print(json.dumps({"rss_mb": rss_mb, "per_s": figures["per_s"]}), flush=True)
    bench.close()
