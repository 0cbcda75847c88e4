"""How long it takes to look an override up, beside a plain dict and beside Django's cache.

Each figure is the median of five rounds, in a temporary database and file cache. The resolver's
includes what it does for being current: a look at the cache every 50 ms, in its own thread.
"""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django

ROUNDS = 5
LOOKUPS = 100_000
CACHE_LOOKUPS = 5_000  # each opens a file
AGENT = "strategist"
MODEL = "anthropic/claude-sonnet-4.5"


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "observatory.settings",
            "DJANGO_DEBUG": "true",
            "DATABASE_URL": f"sqlite:///{folder}/bench.sqlite3",
            "CACHE_URL": f"file://{folder}/cache",
            "LOG_LEVEL": "ERROR",
        }
        django.setup()
        _print(_measure())


def _measure() -> dict[str, float]:
    """Return microseconds per look-up, by what was asked."""
    # Only here: models can be imported once Django is set up for the temporary folder.
    from django.core.cache import cache  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415

    from agents.model_config import ModelConfigService  # noqa: PLC0415
    from agents.models import AgentModelConfig  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    AgentModelConfig.objects.upsert(AGENT, MODEL, "bench")
    known = {AGENT: MODEL}
    cache.set(AGENT, MODEL, timeout=None)
    service = ModelConfigService("key")
    try:
        return {
            "dict": _median(lambda: _asked(known.get, LOOKUPS)),
            "ModelConfigService.get_override": _median(lambda: asyncio.run(_resolved(service))),
            "cache.get (file)": _median(lambda: _asked(cache.get, CACHE_LOOKUPS)),
        }
    finally:
        service.close()


def _median(one_round: Callable[[], float]) -> float:
    return statistics.median(one_round() for _ in range(ROUNDS))


def _asked(get: Callable[[str], object], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        get(AGENT)
    return (time.perf_counter() - started) / count * 1e6


async def _resolved(service: Any) -> float:
    get_override = service.get_override
    await get_override(AGENT)  # the first one reads the table
    started = time.perf_counter()
    for _ in range(LOOKUPS):
        await get_override(AGENT)
    return (time.perf_counter() - started) / LOOKUPS * 1e6


def _print(figures: dict[str, float]) -> None:
    fastest = figures["dict"]
    print(f"One look-up of an override, median of {ROUNDS} rounds:")
    for name, microseconds in figures.items():
        print(f"  {name:32} {microseconds:8.2f} µs  {microseconds / fastest:7.0f} times a dict")
    print(f"on {_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
