"""Decode response bodies: bounded decompression, JSON, and streams merged into one body.

Requests ask for neither compression nor streaming. Some servers use them anyway, and an answer
that was paid for must not be lost.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

MAX_BODY_BYTES = 8 * 1024 * 1024
TOO_LARGE = f"it is larger than {MAX_BODY_BYTES // 1024**2} MB"
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_ENCODINGS = {"gzip", "x-gzip", "deflate"}
_DONE = "[DONE]"


def decompressed(raw: bytes, encoding: str) -> tuple[bytes, str]:
    """Return the decompressed bytes and "", or empty bytes and a description of the problem.

    Decompressed bytes are never more than `MAX_BODY_BYTES`: the problem is `TOO_LARGE` then.
    """
    encoding = encoding.strip().casefold()
    if encoding in ("", "identity"):
        return raw, ""
    if encoding not in _ENCODINGS:
        return b"", f"it is compressed ({encoding[:20]})"
    unpacker = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
    try:
        unpacked = unpacker.decompress(raw, MAX_BODY_BYTES + 1)
    except zlib.error:
        return b"", "it is not what it says it is compressed with"
    if len(unpacked) > MAX_BODY_BYTES:
        return b"", TOO_LARGE
    return (unpacked, "") if unpacker.eof else (b"", "it broke off")


def parsed(raw: bytes) -> Any:
    """Parse JSON bytes, with fractional numbers as Decimal.

    Raises:
        ValueError: the bytes are not JSON.
        RecursionError: the value is nested too deeply to parse.
    """
    # NaN and Infinity are not valid JSON. They are read as null rather than losing a paid answer.
    return json.loads(raw, parse_float=_fraction, parse_constant=lambda _: None)


def _fraction(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:  # for example, an exponent of twenty digits
        return None


# --- server-sent events ---------------------------------------------------------------------------


def are_events(raw: bytes) -> bool:
    """Return whether the bytes are a stream of server-sent events."""
    return raw.lstrip()[:6].startswith((b"data:", b"event:", b":"))


def put_together(raw: bytes) -> dict[str, Any]:
    """Merge server-sent events into the body that a response without streaming would have had.

    The finish reason is None if the stream stopped before its end marker.

    Raises:
        ValueError: no event holds text, an error or metadata.
    """
    answer = _Answer()
    for data in _data_of(raw.decode("utf-8", "replace")):
        if data == _DONE:
            answer.has_ended = True
            continue
        try:
            event = parsed(data.encode())
        except (ValueError, RecursionError):  # the stream broke off in the middle of an event
            break
        if isinstance(event, dict):
            answer.take(event)
    return answer.body()


def _data_of(text: str) -> Iterator[str]:
    """Yield the data of each event, joining the data lines of one event with line feeds."""
    lines: list[str] = []
    # Not `splitlines`: it also splits at U+2028 and other characters that JSON text may contain.
    for line in [*re.split(r"\r\n|\r|\n", text), ""]:
        if line.startswith("data:"):
            lines.append(line.removeprefix("data:").strip())
        elif not line and lines:
            yield "\n".join(lines)
            lines = []


@dataclass(slots=True)
class _Answer:
    """Accumulates the events of a streamed chat completion or Anthropic message."""

    head: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)  # a few servers send the answer as reasoning
    reason: Any = None
    native_reason: Any = None  # the upstream vendor's finish reason, as OpenRouter passes it on
    error: Any = None
    has_ended: bool = False
    is_message: bool = False  # an Anthropic message rather than a chat completion

    def take(self, event: Mapping[str, Any]) -> None:
        """Add the content of one event."""
        if event.get("error"):
            self.error = event["error"]
        kind = event.get("type")
        if isinstance(kind, str) and (kind in ("message_start", "error") or "message" in kind):
            self.is_message = True
        self.has_ended = self.has_ended or kind == "message_stop"
        self._take_head(event.get("message") if kind == "message_start" else event)
        for usage in (event.get("usage"), _mapping(event.get("message")).get("usage")):
            self.usage.update(_mapping(usage))
        self._take_text(event)

    def _take_head(self, event: object) -> None:
        for name in ("id", "model", "provider"):
            if value := _mapping(event).get(name):
                self.head.setdefault(name, value)

    def _take_text(self, event: Mapping[str, Any]) -> None:
        choices = event.get("choices")
        choice = _mapping(choices[0]) if isinstance(choices, list) and choices else {}
        delta = _mapping(choice.get("delta") or event.get("delta"))
        text = delta.get("content") if choice else delta.get("text")
        if isinstance(text, str) and delta.get("type", "text_delta") == "text_delta":
            self.said.append(text)
        thought = (delta.get("reasoning_content") or delta.get("reasoning")) if choice else None
        if isinstance(thought, str):
            self.thought.append(thought)
        self.native_reason = choice.get("native_finish_reason") or self.native_reason
        self.reason = choice.get("finish_reason") or delta.get("stop_reason") or self.reason

    def body(self) -> dict[str, Any]:
        """Return the accumulated events as one response body."""
        if not (self.head or self.said or self.error):
            raise ValueError("no event says anything")
        text, reason = "".join(self.said), self.reason if self.has_ended else None
        body = {**self.head, "usage": self.usage} if self.usage else dict(self.head)
        if self.error:
            body["error"] = self.error
        if self.is_message:
            return body | {"content": [{"type": "text", "text": text}], "stop_reason": reason}
        if not self.error or self.said:
            message = {"role": "assistant", "content": text}
            if self.thought:
                message["reasoning_content"] = "".join(self.thought)
            native = self.native_reason if self.has_ended else None
            body["choices"] = [
                {"finish_reason": reason, "native_finish_reason": native, "message": message}
            ]
        return body


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
