"""How a program takes part in a contest: it says who it is, and measures once for each line.

The scripts beside it import this as a neighbour, in another virtual environment; so nothing here
may need anything but the standard library.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version

LANES = 50  # calls at once
READ_EVERY_S = 0.001
IS_TINY = os.environ.get("BENCH_SIZE") == "tiny"
UPDATES = 200 if IS_TINY else 2_000
ALONE, TOGETHER = (10, 50) if IS_TINY else (300, 1500)  # calls of a round

Figures = Mapping[str, float]


def serve(measure: Callable[[], Figures], *packages: str) -> None:
    """Say of which versions this is, then measure for every line until the input ends."""
    _say({"versions": _versions(packages)})
    for _ in sys.stdin:
        _say(measure())


def serve_calls(ask: Callable[[], Awaitable[object]], *packages: str) -> None:
    """Serve by asking one at a time, and then with `LANES` at once."""
    with asyncio.Runner() as runner:

        def measure() -> Figures:
            return runner.run(_measured(ask, ALONE, TOGETHER))

        runner.run(_measured(ask, ALONE // 10, TOGETHER // 10))  # what is made at the first call
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


def serve_runs(
    loop: asyncio.Runner, run: Callable[[], Awaitable[object]], *packages: str, steps: int = 3
) -> None:
    """Serve by doing so many runs one after the other, each of so many steps."""

    async def several(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            await run()
        return (time.perf_counter() - began) / count / steps * 1e6

    loop.run(several(5))
    serve(lambda: {"us": loop.run(several(20 if IS_TINY else 1000))}, *packages)


def serve_updates(
    loop: asyncio.Runner,
    address: str,
    handled: Callable[[int], Awaitable[object]],
    *packages: str,
    count: int = UPDATES,
) -> None:
    """Serve by having so many updates come in, and waiting until that many have been handled."""

    def measure() -> Figures:
        with urllib.request.urlopen(f"{address}/more?n={count}", data=b""):
            pass
        began, began_cpu = time.perf_counter(), time.process_time()
        loop.run(handled(count))
        took_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
        return {"per_s": count / took_s, "cpu_ms": cpu_s * 1000 / count}

    measure()
    serve(measure, *packages)


def serve_watching(read: Callable[[], object], *packages: str) -> None:
    """Say when a change of what is read was seen, change by change, until the input ends."""
    is_over = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        is_over.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    last = read()
    _say({"versions": _versions(packages)})
    while not is_over.wait(READ_EVERY_S):
        if (now := read()) != last:
            _say({"at": time.monotonic(), "value": now})  # a clock that all processes share
            last = now


def serve_saving(save: Callable[[str], object], *packages: str) -> None:
    """Save every line of the input, and say when that was done."""
    _say({"versions": _versions(packages)})
    for line in sys.stdin:
        save(line.strip())
        _say({"at": time.monotonic()})


def each_us(get: Callable[[], object], count: int) -> float:
    """Return how long one getting takes, in microseconds."""
    began = time.perf_counter()
    for _ in range(count):
        get()
    return (time.perf_counter() - began) / count * 1e6


class Counter:
    """Counts what is handled, and knows when it is enough."""

    def __init__(self) -> None:
        self._count = 0
        self._wanted = 0
        self._is_enough = asyncio.Event()

    def add(self) -> None:
        self._count += 1
        if self._count >= self._wanted:
            self._is_enough.set()

    async def more(self, count: int) -> None:
        """Return when so many more have been handled."""
        self._wanted += count
        while self._count < self._wanted:
            self._is_enough.clear()
            await self._is_enough.wait()


def _versions(packages: Sequence[str]) -> str:
    return "; ".join(f"{package} {version(package)}" for package in packages)


def _say(words: Mapping[str, object]) -> None:
    print(json.dumps(words), flush=True)
