"""A loopback server that misbehaves on purpose, on the socket level where need be.

It runs in the test's own loop. `replies` are used one after another, the last one again and again;
a reply is a `Canned` response or a coroutine function that writes to the socket itself.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

SHARED_KEY = "sk-or-v1-loopback-test-key-0001"
PATIENCE_S = (
    20.0  # for what comes within milliseconds; less than the 30 s that some vendors ask for
)


@dataclass(frozen=True, kw_only=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: Any  # parsed from `raw`
    raw: bytes


@dataclass(frozen=True, kw_only=True)
class Canned:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        raw = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": len(raw), **self.headers}
        lines = [f"HTTP/1.1 {self.status} Scripted", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


ByHand = Callable[[Received, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Reply = Canned | ByHand


class Loopback:
    """What the server has seen."""

    def __init__(self, replies: tuple[Reply, ...]) -> None:
        self.replies = list(replies)
        self.by_model: dict[str, Canned] = {}  # what requests for a model get instead
        self.base_url = ""
        self.received: list[Received] = []
        self.connections = 0
        self.open_connections = 0
        self.arrived = asyncio.Event()
        self.hung_up = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def chats(self) -> list[Received]:
        return [request for request in self.received if request.method == "POST"]

    def next_reply(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def hang_up_on_all(self) -> None:
        """Close all connections, also those on which no request is under way."""
        for writer in self._writers:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        self._writers.add(writer)
        try:
            while (request := await _read_request(reader)) is not None:
                self.received.append(request)
                self.arrived.set()
                model = request.body.get("model") if isinstance(request.body, dict) else None
                reply = self.by_model.get(str(model)) or self.next_reply()
                if isinstance(reply, Canned):
                    writer.write(reply.encoded())
                    await writer.drain()
                    continue
                await reply(request, reader, writer)
                return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open_connections -= 1
            self._writers.discard(writer)
            self.hung_up.set()
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def loopback(*replies: Reply, port: int = 0) -> AsyncIterator[Loopback]:
    seen = Loopback(replies)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(seen.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    seen.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v1"
    try:
        yield seen
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what sockets tell nobody."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def unused_base_url() -> str:
    """Return an address of this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/api/v1"


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = dict(line.split(": ", 1) for line in lines)
    headers = {name.lower(): value for name, value in headers.items()}
    raw = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(
        method=method,
        path=path,
        headers=headers,
        body=json.loads(raw) if raw else None,
        raw=raw,
    )


# --- socket-level misbehaviour --------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Generation-Id: gen-lost\r\n"


async def drip(_: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send one byte every 10 ms, for ever."""
    writer.write(HEAD + b"Content-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def nine_megabytes(
    _: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    writer.write(HEAD + b"Content-Length: 9437184\r\n\r\n")
    for _number in range(9):
        writer.write(b"1" * 1024**2)
        await writer.drain()


async def never(_: Received, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """Say nothing until the client hangs up."""
    await reader.read()


async def reset_before_answer(
    _: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    _reset(writer)


async def reset_mid_answer(
    _: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    writer.write(HEAD + b'Content-Length: 1000\r\n\r\n{"id":')
    await writer.drain()
    await asyncio.sleep(0.01)  # the client reads the head before the reset throws it away
    _reset(writer)


async def hang_up_before_answer(
    _: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    writer.close()


async def nonsense(_: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
