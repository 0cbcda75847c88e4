"""Allows only one `make run` per checkout, and only on a free port."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from observatory.local.errors import CannotStart
from pipeline.locks import LockTaken, locked


@contextmanager
def only_one(lock_file: Path, *, address: str) -> Iterator[None]:
    """Hold the checkout's lock while the context is open.

    Raises:
        CannotStart: another process holds it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock_file, f", {address}"))
        except LockTaken as error:
            raise CannotStart(
                f"Observatory is running already from this checkout: {error}. "
                "Stop it with Ctrl-C in its terminal."
            ) from None
        yield


def refuse_taken_port(host: str, port: int) -> None:
    """Check that the port is free.

    Raises:
        CannotStart: another program listens on the port, or this user may not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # like the web's own socket
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
