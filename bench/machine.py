"""Where a bench ran and how large it is: a figure without both says nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
IS_TINY = (
    os.environ.get("BENCH_SIZE") == "tiny"
)  # as `make check` runs it: nothing but that it runs
ROUNDS = 1 if IS_TINY else int(os.environ.get("BENCH_ROUNDS", "5"))


def sized(full: T, tiny: T) -> T:
    """Return how many or how long, by the size that the environment asks for."""
    return tiny if IS_TINY else full


def described() -> str:
    """Return the machine in one line, with what else keeps it busy."""
    load = os.getloadavg()[0]
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}; load before: {load:.1f}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
