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

from observatory.sandbox.exchange import Reply, Spoiling
from observatory.sandbox.web import Response, Stream

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
        wire = Stream(
            chunks=source(_raw(reply)),
            status=reply.status,
            content_type="application/json",
            headers=reply.headers | (headers or {}),
        )
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


async def _half(raw: bytes) -> Chunks:
    yield raw[: len(raw) // 2]
    raise ConnectionResetError


def _reset(reply: Reply) -> Reply:
    """Declare the whole length and cut the connection after half of it."""
    return _in_pieces(_half, {"content-length": str(len(_raw(reply)))})(reply)


def _padded(reply: Reply) -> Reply:
    wire = Response(
        status=reply.status,
        body=PADDING + _raw(reply) + PADDING,
        content_type="application/json",
        headers=reply.headers,
    )
    return replace(reply, wire=wire)


def _replaced_by_page(reply: Reply) -> Reply:
    return replace(reply, wire=Response(status=200, body=PAGE, content_type="text/html"))


def _packed(reply: Reply) -> Reply:
    """Compress the answer although nobody asked for that."""
    packed = gzip.compress(_raw(reply))
    headers = reply.headers | {"content-encoding": "gzip"}
    wire = Response(status=200, body=packed, content_type="application/json", headers=headers)
    return replace(reply, wire=wire)


def _blocked(reply: Reply) -> Reply:
    return _ungenerated(Response(status=403, body=PAGE, content_type="text/html"))


def _bad_gateway(reply: Reply) -> Reply:
    return _ungenerated(Response(status=502, body=PAGE, content_type="text/html"))


def _redirect(reply: Reply) -> Reply:
    return _ungenerated(
        Response(status=307, body=b"", content_type="text/plain", headers={"location": ELSEWHERE})
    )


def _ungenerated(response: Response) -> Reply:
    return Reply(status=response.status, body={}, billed=Decimal(0), wire=response)


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
