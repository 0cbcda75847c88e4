"""A server as SHARED_SERVER=compatible may have it, with the least that chat completions need.

It runs in a thread, for commands that bring their own event loop. It knows no schemas (422, in
FastAPI's words), tells no usage, id or cost, answers under a file's path, and 404 to all other
pages.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GGUF = "/models/qwen2.5-1.5b-instruct-q4_k_m.gguf"
ASKS_IN_WORDS = "Answer with one JSON value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, and how long the server had it."""

    path: str
    headers: dict[str, str]
    body: Any
    status: int
    took_s: float


@dataclass(slots=True)
class BareServer:
    url: str
    asked: list[Asked] = field(default_factory=list)

    @property
    def paths(self) -> set[str]:
        return {request.path for request in self.asked}

    @property
    def answered(self) -> list[Asked]:
        return [request for request in self.asked if request.status == 200]


@contextmanager
def bare_server(
    say: Callable[[str], str], *, served: str = GGUF, thinks_s: float = 0.0
) -> Iterator[BareServer]:
    """Yield a server that lets an agent's model say `say(agent)`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or the body waits 40 ms for the head to be acknowledged

        def do_GET(self) -> None:
            self._answer(None, 404, {"detail": "Not Found"}, time.perf_counter())

        def do_POST(self) -> None:
            began = time.perf_counter()
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.path.endswith("/chat/completions"):
                self._answer(body, 404, {"detail": "Not Found"}, began)
            elif unknown := sorted(body.keys() - {"model", "messages"}):
                location = ["body", unknown[0]]
                refusal = {"detail": [{"loc": location, "msg": "Extra inputs are not permitted"}]}
                self._answer(body, 422, refusal, began)
            else:
                time.sleep(thinks_s)
                said = {"role": "assistant", "content": say(self.headers["X-Observatory-Agent"])}
                choices = [{"message": said, "finish_reason": "stop"}]
                self._answer(body, 200, {"model": served, "choices": choices}, began)

        def _answer(self, body: Any, status: int, content: Any, began: float) -> None:
            raw = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            headers = {name.lower(): value for name, value in self.headers.items()}
            took_s = time.perf_counter() - began
            seen.asked.append(
                Asked(path=self.path, headers=headers, body=body, status=status, took_s=took_s)
            )
            self.wfile.write(raw)

        def log_message(self, format: str, *args: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen = BareServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
