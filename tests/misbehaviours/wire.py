"""Sound answers that go wrong on their way out; the bytes of any vendor can.

All but `not-json-502`, `page-403` and `redirect` are billed, since the answer had been generated.
The response headers, with the generation's id, come with all that a proxy has not replaced.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from decimal import Decimal

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from observatory.sandbox.exchange import Reply
from tests.misbehaviours.kinds import Spoiling

FIRST_BYTE_S = 5.0
DRIP_S = 1.0
ENDLESS_EVERY_S = 0.05
MEGABYTE = b" " * 1024 * 1024
HUGE_MEGABYTES = 50
BOMB_MEGABYTES = 100  # about 100 KB on the wire
GZIP = 16 + zlib.MAX_WBITS
PADDING = b"\n   \n\n  "
PAGE = b"<!doctype html><html><head><title>Gateway</title></head><body>Bad gateway</body></html>\n"
ELSEWHERE = "http://127.0.0.2:9/v1/elsewhere"

Chunks = AsyncGenerator[bytes, None]


def _in_pieces(
    source: Callable[[bytes], Chunks], headers: dict[str, str] | None = None
) -> Spoiling:
    """Return a spoiling that sends the answer's bytes through `source`."""

    def spoil(reply: Reply) -> Reply:
        every = reply.headers | (headers or {})
        wire = StreamingResponse(source(_raw(reply)), reply.status, every, "application/json")
        return replace(reply, wire=wire)

    return spoil


def _raw(reply: Reply) -> bytes:
    return json.dumps(reply.body, separators=(",", ":")).encode()


async def _after_silence(raw: bytes) -> Chunks:
    await asyncio.sleep(FIRST_BYTE_S)
    yield raw


async def _byte_by_byte(raw: bytes) -> Chunks:
    for position in range(len(raw)):
        yield raw[position : position + 1]
        await asyncio.sleep(DRIP_S)


async def _without_end(raw: bytes) -> Chunks:
    yield raw[:-1]
    while True:
        yield b" " * 1024
        await asyncio.sleep(ENDLESS_EVERY_S)


async def _huge(raw: bytes) -> Chunks:
    yield raw[:-1]
    for _ in range(HUGE_MEGABYTES):
        yield MEGABYTE
    yield raw[-1:]


async def _bomb(raw: bytes) -> Chunks:
    packer = zlib.compressobj(wbits=GZIP)
    yield packer.compress(raw[:-1])
    for _ in range(BOMB_MEGABYTES):
        yield packer.compress(MEGABYTE)
        await asyncio.sleep(0)
    yield packer.compress(raw[-1:]) + packer.flush()


class _Cut(Response):
    """Declares the whole length and cuts the connection after half of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code}
        await send(start | {"headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})


def _reset(reply: Reply) -> Reply:
    return replace(reply, wire=_Cut(_raw(reply), 200, reply.headers, "application/json"))


def _padded(reply: Reply) -> Reply:
    body = PADDING + _raw(reply) + PADDING
    wire = Response(body, reply.status, reply.headers, "application/json")
    return replace(reply, wire=wire)


def _replaced_by_page(reply: Reply) -> Reply:
    return replace(reply, wire=Response(PAGE, 200, media_type="text/html"))


def _packed(reply: Reply) -> Reply:
    """Compress the answer although nobody asked for that."""
    packed = gzip.compress(_raw(reply))
    headers = reply.headers | {"content-encoding": "gzip"}
    wire = Response(packed, 200, headers, "application/json")
    return replace(reply, wire=wire)


def _blocked(reply: Reply) -> Reply:
    return _ungenerated(Response(PAGE, 403, media_type="text/html"))


def _bad_gateway(reply: Reply) -> Reply:
    return _ungenerated(Response(PAGE, 502, media_type="text/html"))


def _redirect(reply: Reply) -> Reply:
    return _ungenerated(Response(status_code=307, headers={"location": ELSEWHERE}))


def _ungenerated(response: Response) -> Reply:
    return Reply(status=response.status_code, body={}, billed=Decimal(0), wire=response)


WIRE: dict[str, Spoiling] = {
    "slow-first-byte": _in_pieces(_after_silence),
    "drip": _in_pieces(_byte_by_byte),
    "endless": _in_pieces(_without_end),
    "huge": _in_pieces(_huge),
    "gzip-bomb": _in_pieces(_bomb, {"content-encoding": "gzip"}),
    "gzip": _packed,
    "page-403": _blocked,
    "reset": _reset,
    "padded": _padded,
    "not-json": _replaced_by_page,
    "not-json-502": _bad_gateway,
    "redirect": _redirect,
}
