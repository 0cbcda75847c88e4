"""How much is tried: a little in every run of the suite, all of it with OBSERVATORY_PROVE=1."""

from __future__ import annotations

import os

IS_PROVING = os.environ.get("OBSERVATORY_PROVE") == "1"


def amount(normally: int, *, proving: int) -> int:
    """Return how often to do something in this run."""
    return proving if IS_PROVING else normally
