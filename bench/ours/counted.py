"""`python bench/ours/counted.py COMMAND`: a command of manage.py that counts what it does.

The product is that of the working directory, which may be another checkout.

On SIGUSR1 it writes `counts.json` into its folder: seconds of CPU, statements, connections opened,
commits and turns of the event loop since its start. A statement outside a transaction that writes
is a commit of its own.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from asyncio import base_events
from collections import Counter
from pathlib import Path
from typing import Any

from django.core.management import execute_from_command_line
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

READS = ("SELECT", "EXPLAIN", "PRAGMA", "SHOW", "BEGIN", "SAVEPOINT", "RELEASE")
_counts: Counter[str] = Counter()
_lock = threading.Lock()


def main() -> None:
    """Count, and do what the command line says."""
    sys.path.insert(0, str(Path.cwd()))
    connection_created.connect(_watch, weak=False)
    BaseDatabaseWrapper._commit = _counting("commits", BaseDatabaseWrapper._commit)
    base_events.BaseEventLoop._run_once = _counting("turns", base_events.BaseEventLoop._run_once)
    signal.signal(signal.SIGUSR1, _write)
    execute_from_command_line(["manage.py", *sys.argv[1:]])


def _counting(name: str, work: Any) -> Any:
    def counted(self: Any) -> Any:
        with _lock:
            _counts[name] += 1
        return work(self)

    return counted


def _watch(sender: Any, connection: Any, **_: Any) -> None:
    with _lock:
        _counts["connections"] += 1
    if _count not in connection.execute_wrappers:
        connection.execute_wrappers.append(_count)


def _count(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    is_read = str(sql).lstrip().upper().startswith(READS)
    with _lock:
        _counts["statements"] += 1
        _counts["commits"] += not is_read and not context["connection"].in_atomic_block
    return execute(sql, params, many, context)


def _write(*_: Any) -> None:
    folder = Path(os.environ["OBSERVATORY_CHAOS_DIR"])
    # No lock: the handler runs in the thread that may hold it.
    counts = {**_counts, "cpu_s": time.process_time()}
    draft = folder / "counts.new"
    draft.write_text(json.dumps(counts))
    draft.rename(folder / "counts.json")


if __name__ == "__main__":
    main()
