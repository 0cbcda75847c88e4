"""A running sandbox for tests: real HTTP on a free loopback port."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from observatory.sandbox.app import create_app
from tests.misbehaviours.app import Misbehaving

START_TIMEOUT_S = 60.0
TICK_S = 0.01
KEEP_ALIVE_S = 120


class _Server(uvicorn.Server):
    """A server that notices soon that it is to stop; uvicorn's own takes a tenth of a second."""

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            await asyncio.sleep(TICK_S)


@contextmanager
def running_sandbox(
    *,
    journal: Path | None = None,
    latency_s: float = 0.0,
    port: int = 0,
    extension: Misbehaving | None = None,
) -> Iterator[str]:
    """Yield the base URL of a sandbox that runs until the block ends."""
    listener = socket.create_server(("127.0.0.1", port))
    server = _Server(
        uvicorn.Config(
            create_app(journal=journal, latency_s=latency_s, extension=extension or Misbehaving()),
            log_level="warning",
            lifespan="off",
            # Else a call that takes up a connection after a pause may find it just being closed.
            timeout_keep_alive=KEEP_ALIVE_S,
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        _wait_until_started(server, thread)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True  # long polls and event streams would keep it waiting
        if journal is None:
            # The port is free now; what is left takes uvicorn a tenth of a second and no one waits.
            _wait_until(lambda: listener.fileno() == -1 or not thread.is_alive())
        else:
            thread.join(timeout=START_TIMEOUT_S)
        listener.close()


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    _wait_until(lambda: server.started or not thread.is_alive())
    if not server.started:
        raise RuntimeError("the sandbox did not start")


def _wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_true() and time.monotonic() < deadline:
        time.sleep(0.002)
