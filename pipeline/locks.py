"""Locks between processes of one machine, which the system frees however their holder ends."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockTaken(Exception):
    """Another process holds the lock; the message is what it wrote about itself."""


@contextmanager
def locked(path: Path, note: str = "", *, is_shared: bool = False) -> Iterator[None]:
    """Hold the lock of a file, with a note for processes that find it taken.

    A shared lock excludes only exclusive ones.

    Raises:
        LockTaken: another process holds it.
    """
    try:
        opened = path.open("a+", encoding="utf-8")
    except PermissionError:
        raise LockTaken(f"{path} is another user's") from None
    with opened as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise LockTaken(file.read().strip()) from None
        if not is_shared:
            file.truncate(0)
            file.write(f"process {os.getpid()}{note}")
            file.flush()
        yield


@contextmanager
def locked_name(name: str) -> Iterator[None]:
    """Hold a name on this machine.

    On Linux it is the name of a socket that is in no folder, so it is the same for any user and any
    temporary folder. Each network namespace has names of its own: a container sees only its own.
    https://man7.org/linux/man-pages/man7/unix.7.html

    Raises:
        LockTaken: another process holds it.
    """
    if sys.platform != "linux":
        with locked(Path(tempfile.gettempdir()) / f"{name}.lock"):
            yield
        return
    address = f"\0{name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as held:
        try:
            held.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise LockTaken(_holder(address)) from None
        held.listen(1)  # so that others may ask whose it is
        yield


def _holder(address: str) -> str:
    """Return who listens there, in words."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)  # where many ask, one more has no answer
        try:
            asking.connect(address)
        except OSError:
            return "another process"
        who = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, user, _ = struct.unpack("3i", who)
    return f"process {pid}, of user {user}" if pid else "a process of another container"
