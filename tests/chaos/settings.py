"""The settings of a bot's process under test: those of the suite, and what the fault test says.

OBSERVATORY_CHAOS holds the latter in JSON. OBSERVATORY_PAGES names a file with the number of pages
that SQLite may use, for a disk that is full: read at each connection, so it can change meanwhile.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from django.db.backends.signals import connection_created

from tests.settings import *  # noqa: F403
from tests.settings import LOGGING

globals().update(json.loads(os.environ["OBSERVATORY_CHAOS"]))
DATA_DIR = Path(os.environ["OBSERVATORY_CHAOS_DIR"])
LOGGING["root"]["level"] = "INFO"  # type: ignore[index]
_PAGES = DATA_DIR / "pages"


def _limit_pages(sender: Any, connection: Any, **_: Any) -> None:
    if connection.vendor == "sqlite" and _PAGES.exists():
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA max_page_count = {int(_PAGES.read_text() or 2**30)}")


connection_created.connect(_limit_pages)
