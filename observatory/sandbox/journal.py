"""The sandbox's memory across restarts: an append-only file of JSON lines.

`state.py` defines what the records mean. Text that looks like an API key or a bot token is written
as asterisks, one per character, so that entity offsets stay right.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from observatory.sandbox.web import Json

SECRET = re.compile(r"\bsk-[A-Za-z0-9_-]{12,}|\b\d{6,}:[A-Za-z0-9_-]{30,}")


class Journal:
    """Reads and writes records, one per line; without a path, it stores nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            _end_torn_line(path)

    def read(self) -> Iterator[Json]:
        """Yield the stored records; a line cut off by a kill is skipped."""
        if self._path is None or not self._path.exists():
            return
        with self._path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict):
                    yield record

    def write(self, record: Json) -> None:
        """Append one record and flush it to the operating system at once."""
        if self._path is None:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(record))


def _line(record: Json) -> str:
    line = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    return SECRET.sub(lambda secret: "*" * len(secret[0]), line) + "\n"


def _end_torn_line(path: Path) -> None:
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
