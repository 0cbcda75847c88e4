"""A model provider that answers at once: what is left of a call's time is the client's own.

Nothing but the standard library, in a process of its own: `python standin.py` says its port. Every
answer is a chat completion of about 1 kB, whose content is a plan that fits the strategist's
schema, with a number in it, so that no two answers are the same text.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MODEL = "openai/gpt-5-mini"
PLAN = {
    "analysis": (
        "The price is not the matter; nobody there knows who would run the change. No. 0000000000"
    ),
    "strategy": "Take the fear of switching away first: name a person, a date and a way back.",
    "steps": [
        {"action": "Name who will move the data.", "why": "It is what they fear.", "when": "today"},
        {"action": "Offer a month side by side.", "why": "A way back.", "when": "this week"},
    ],
    "draft": (
        "Anna would move your data herself; for a month both systems run. Shall we set a date?"
    ),
    "risks": ["The contract with the old vendor may renew before that."],
}
COMPLETION = {
    "id": "gen-0000000000",
    "object": "chat.completion",
    "created": 1764000000,
    "model": MODEL,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": json.dumps(PLAN)},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 900,
        "completion_tokens": 160,
        "total_tokens": 1060,
        "cost": 0.000545,
    },
}
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

Responder = Callable[[bytes, bytes], bytes | None]  # from head and body to a body; None: not yet


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._got = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (ends := self._got.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._got[:ends])
            found = _LENGTH.search(head)
            whole = ends + 4 + (int(found[1]) if found else 0)
            if len(self._got) < whole:
                return
            body = self._responder(head, bytes(self._got[ends + 4 : whole]))
            del self._got[:whole]
            if body is None:  # nothing to say yet; whoever asks is told so a moment later
                asyncio.get_running_loop().call_later(
                    0.05, self._answer, b'{"ok":true,"result":[]}'
                )
            else:
                self._answer(body)

    def _answer(self, body: bytes) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )


def completions() -> Responder:
    """Return what answers as a model does."""
    numbers, text = itertools.count(1), json.dumps(COMPLETION).encode()

    def respond(head: bytes, body: bytes) -> bytes:
        return text.replace(b"0000000000", b"%010d" % next(numbers))

    return respond


async def serve(responder: Responder) -> None:
    """Say the port, and serve until the input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(responder), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@contextmanager
def running(module: str = "bench.standin") -> Iterator[str]:
    """Yield the address of a stand-in that runs until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.communicate()


if __name__ == "__main__":
    asyncio.run(serve(completions()))
