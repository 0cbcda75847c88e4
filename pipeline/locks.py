"""Locks between processes of one machine; the system frees them however the holder ends."""

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
    """Another process holds the lock; the message describes that process."""


@contextmanager
def locked(path: Path, note: str = "", *, is_shared: bool = False) -> Iterator[None]:
    """Hold a lock on a file, with a note for processes that find it taken.

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
    """Hold a lock on a name on this machine.

    On Linux the lock is an abstract socket address, which is in no folder, so it is the same for
    any user and any temporary folder. Each network namespace has its own abstract addresses: a
    container sees only its own. https://man7.org/linux/man-pages/man7/unix.7.html

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
        held.listen(1)  # so that other processes can find out who holds it
        yield


def _holder(address: str) -> str:
    """Return a description of the process that listens at the address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)  # do not wait if too many processes connect at once
        try:
            asking.connect(address)
        except OSError:
            return "another process"
        who = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, user, _ = struct.unpack("3i", who)
    return f"process {pid}, of user {user}" if pid else "a process of another container"
