"""The settings of a bot's process under test: those of the suite, and what the fault test says.

OBSERVATORY_CHAOS holds the latter in JSON. Files in the process's folder change meanwhile: `pages`,
the number of pages that SQLite may use, for a disk that is full; `clock`, how many seconds ahead.
"""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db.backends.signals import connection_created
from django.utils import timezone

from tests.settings import *  # noqa: F403
from tests.settings import LOGGING

globals().update(json.loads(os.environ["OBSERVATORY_CHAOS"]))
DATA_DIR = Path(os.environ["OBSERVATORY_CHAOS_DIR"])
LOGGING["root"]["level"] = "INFO"  # type: ignore[index]
_PAGES, _CLOCK = DATA_DIR / "pages", DATA_DIR / "clock"


def _limited(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    """Let a statement use no more pages than the file says now: connections stay open."""
    if _PAGES.exists():
        pages = int(_PAGES.read_text() or 2**30)
        context["connection"].connection.execute(f"PRAGMA max_page_count = {pages}")
    return execute(sql, params, many, context)


def _limit_pages(sender: Any, connection: Any, **_: Any) -> None:
    if connection.vendor == "sqlite" and _limited not in connection.execute_wrappers:
        connection.execute_wrappers.append(_limited)


connection_created.connect(_limit_pages)

# The wall clock of this process jumps when a test says so. Settings are read before anything of the
# product is imported, so it all sees this clock; the monotonic one goes on, as the system's does.
_now, _time = timezone.now, time.time


def _ahead_s() -> float:
    return float(_CLOCK.read_text()) if _CLOCK.exists() else 0.0


timezone.now = lambda: _now() + timedelta(seconds=_ahead_s())
time.time = lambda: _time() + _ahead_s()
