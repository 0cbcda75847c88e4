"""HTTP as the sandbox needs it: requests in, JSON, files and event streams out.

Knows nothing of Telegram, of models or of routes; `app.py` ties it to ASGI.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import urlsplit

Json = dict[str, Any]
Clock = Callable[[], float]


class Refused(Exception):
    """A request that is answered with an error status and one clear sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, its path counted from the mount, its header names in lower case."""

    method: str
    mount: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON.

        Raises:
            Refused: the body is not JSON, or holds text that UTF-8 cannot carry.
        """
        return parse_json(self.body)

    def json_object(self) -> Json:
        """Return the body as a JSON object; an empty body is an empty object."""
        value = self.json() if self.body.strip() else {}
        if not isinstance(value, dict):
            raise Refused(400, "the body must be a JSON object")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One complete answer."""

    status: int
    body: bytes
    content_type: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An answer in pieces, open until its source ends or the client leaves.

    By default the pieces are server-sent events.

    A source that raises `ConnectionResetError` cuts the connection where it stands.
    """

    chunks: AsyncGenerator[bytes, None]
    status: int = HTTPStatus.OK
    content_type: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)


Answer = Response | Stream
Handler = Callable[..., Awaitable[Answer]]
ErrorRenderer = Callable[[int, str], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A method and a path pattern, who answers it, and how this corner of the sandbox words errors.

    The pattern's groups become the handler's further arguments. `own_origin_only` refuses requests
    that a page from elsewhere sends through the operator's browser.
    """

    methods: tuple[str, ...]
    pattern: re.Pattern[str]
    handler: Handler
    render_error: ErrorRenderer
    own_origin_only: bool

    def matches(self, path: str) -> re.Match[str] | None:
        """Return how the pattern fits the path, if it does."""
        return self.pattern.fullmatch(path)


def parse_json(raw: bytes | str) -> Any:
    """Return the JSON value in `raw`.

    Raises:
        Refused: not JSON, nested too deeply, or holding lone surrogates.
    """
    try:
        value = json.loads(raw, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"not valid JSON: {error}") from error
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def json_response(
    value: Any, *, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    """Return `value` as a JSON answer that no cache keeps."""
    return Response(
        status=status,
        body=json.dumps(value, separators=(",", ":")).encode(),
        content_type="application/json",
        headers={"cache-control": "no-store", **(headers or {})},
    )


def plain_error(status: int, text: str) -> Response:
    """Return the error shape of the sandbox's own API: `{"error": text}`."""
    return json_response({"error": text}, status=status)


def event(name: str, value: Any, *, event_id: str) -> bytes:
    """Return one server-sent event with a JSON payload."""
    return f"id: {event_id}\nevent: {name}\ndata: {json.dumps(value)}\n\n".encode()


def is_cross_origin(request: Request) -> bool:
    """Tell whether a browser sent this on behalf of a page from another host."""
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")
