"""How a program takes part in a contest: it says who it is, and measures once for each line.

The scripts beside it import this as a neighbour, in another virtual environment; so nothing here may
need anything but the standard library.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version

LANES = 50  # calls at once

Figures = Mapping[str, float]


def serve(measure: Callable[[], Figures], *packages: str) -> None:
    """Say of which versions this is, then measure for every line until the input ends."""
    said = "; ".join(f"{package} {version(package)}" for package in packages)
    _say({"versions": said})
    for _ in sys.stdin:
        _say(measure())


def serve_calls(
    ask: Callable[[], Awaitable[object]], *packages: str, alone: int, together: int
) -> None:
    """Serve by asking so often one at a time, and so often with `LANES` at once."""
    with asyncio.Runner() as runner:

        def measure() -> Figures:
            return runner.run(_measured(ask, alone, together))

        runner.run(_measured(ask, 5, LANES))  # what is made at the first call
        serve(measure, *packages)


async def _measured(ask: Callable[[], Awaitable[object]], alone: int, together: int) -> Figures:
    took_us = []
    for _ in range(alone):
        began = time.perf_counter()
        await ask()
        took_us.append((time.perf_counter() - began) * 1e6)
    return {"p50_us": statistics.median(took_us), **await at_once(ask, together)}


async def at_once(ask: Callable[[], Awaitable[object]], count: int, weight: int = 1) -> Figures:
    """Ask so often with `LANES` at once; `weight` is how many calls one asking stands for."""
    left = iter(range(count))

    async def lane() -> None:
        for _ in left:
            await ask()

    began, began_cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(lane() for _ in range(LANES)))
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    calls = count * weight
    return {"per_s": calls / took_s, "cpu_ms": cpu_s * 1000 / calls}


def _say(words: Mapping[str, object]) -> None:
    print(json.dumps(words), flush=True)
