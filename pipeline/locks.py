"""A lock between the processes of one machine, which the system lets go of however its holder ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockTaken(Exception):
    """Another process holds the lock; the message is what it wrote about itself."""


@contextmanager
def locked(path: Path, note: str = "") -> Iterator[None]:
    """Hold the lock of a file, with a note for whoever finds it taken.

    Raises:
        LockTaken: another process holds it.
    """
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise LockTaken(file.read().strip()) from None
        file.truncate(0)
        file.write(f"process {os.getpid()}{note}")
        file.flush()
        yield
