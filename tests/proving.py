"""How much is tried: a little by `make test`, more by `make check`, all of it by `make prove`.

What a full run found is kept in `var/proved.txt`, one line a test, which `make prove` prints.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from django.db import connection

IS_PROVING = os.environ.get("OBSERVATORY_PROVE") == "1"
IS_CHECKING = os.environ.get("OBSERVATORY_CHECK") == "1"
PROVED = Path(__file__).parents[1] / "var/proved.txt"


def amount(normally: int, *, proving: int, quickly: int | None = None) -> int:
    """Return how often to do something in this run.

    `quickly` is for what takes seconds of every run.
    """
    if IS_PROVING:
        return proving
    return normally if quickly is None or IS_CHECKING else quickly


def closing_line(line: str) -> None:
    """Print what a test counted; in a full run keep it, too, with the database it ran on."""
    line = f"{connection.vendor}: {line.strip()}\n"
    sys.stdout.write(line)
    if IS_PROVING:
        PROVED.parent.mkdir(exist_ok=True)
        with PROVED.open("a", encoding="utf-8") as proved:  # one short write: whole beside others
            proved.write(line)
