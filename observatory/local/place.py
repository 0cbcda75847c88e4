"""Whether there is room: one `make run` a checkout, and a port that nobody else listens on."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from observatory.local.errors import CannotStart


@contextmanager
def only_one(lock_file: Path, *, address: str) -> Iterator[None]:
    """Hold the checkout's lock; the system releases it however this process ends.

    Raises:
        CannotStart: another process holds it.
    """
    with lock_file.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise CannotStart(
                f"Observatory is running already from this checkout: {file.read().strip()}. "
                "Stop it with Ctrl-C in its terminal."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()}, {address}")
        file.flush()
        yield


def refuse_taken_port(host: str, port: int) -> None:
    """Do nothing when the port is free.

    Raises:
        CannotStart: somebody listens there, or this user may not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the web's own socket
        try:
            probe.bind((host, port))
        except OSError as error:
            other = port + 1 if 1024 <= port < 65535 else 8001
            is_taken = error.errno == errno.EADDRINUSE
            why = (
                "is taken by another program" if is_taken else f"cannot be used ({error.strerror})"
            )
            raise CannotStart(
                f"Port {port} {why}. Choose another one: PORT={other} make run"
            ) from None
