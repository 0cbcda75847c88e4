"""Responses that no vendor should send: sound ones with strange values, headers and bytes."""

from __future__ import annotations

import copy
import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.llm.loopback import Canned
from tests.llm.vendors import Body, Vendor

STATUSES = (
    *(200,) * 12,
    *(201, 204, 299, 302, 307, 400, 401, 402, 403, 404, 408, 409, 413, 422, 429),
    *(500, 502, 503, 504, 524, 529, 599),
)
HEADERS: tuple[tuple[str, str], ...] = (
    *(("Retry-After", value) for value in ("0", "0.001", "-5", "nan", "1e999", "soon", "99999")),
    *(("Content-Encoding", value) for value in ("gzip", "br", "identity")),
    *(("Content-Type", value) for value in ("text/html", "text/event-stream", "")),
    ("X-Generation-Id", "../../key?x=\xe4"),
    ("Location", "http://192.0.2.1/"),
)
NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 200, 429, 2**70, 0.5, -0.25, -0.0, 1e308, -1e308, 1e-400),
    *(float("nan"), float("inf"), float("-inf"), True),
)
STRANGE: tuple[Any, ...] = (
    *(None, False, *NUMBERS),
    *("", " \n", "x" * 300, "\0", "\ud83d", "429", "500", "stop", "error", "refusal", "NaN"),
    *("server_error", "overloaded_error", "rate_limit_exceeded", "not_found", "sandbox/x"),
    *("length", "max_tokens", "model_length", "MAX_TOKENS", "model_context_window_exceeded"),
    *('{"is_lead": true}', '<think>{"x": 1}</think>{"is_lead": true}', '{"is_lead": tr'),
    [{"type": "reasoning", "text": "secret"}, {"type": "text", "text": '{"is_lead": true}'}],
    *([], {}, [None], [[]], [{}], {"": None}, [{"type": "text", "text": 7}]),
)
# What refusals say, so that every way of asking once more is gone in any state.
WORDS = (
    "This request requires more credits, or fewer max_tokens. You can only afford 900",
    "You can only afford 3",
    "max_tokens: 16384 > 4096, which is the maximum allowed number of output tokens",
    "max_tokens is too large",
    "'messages[0].role' does not support 'system' with this model.",
    "Unknown name \"additionalProperties\" at 'generation_config.response_schema'",
    "Unsupported parameter: 'max_tokens' is not supported with this model.",
    "Unrecognized request argument supplied: provider",
    "This model's maximum context length is 8192 tokens. However, you requested 17000 tokens"
    " (616 in the messages, 16384 in the completion).",
    "No endpoints found for this model.",
    "Insufficient credits",
)
ERROR_MEMBERS: Body = {
    "code": 429,
    "type": "overloaded_error",
    "http_status": 503,
    "error_type": "not_found",
    "param": "response_format",
    "metadata": {"raw": "limited", "error_type": "server", "reasons": []},
    "availability": {
        "code": "model_not_found",
        "retryable": True,
        "retry_after": 0,
        "fallback_models": ["a/b"],
        "constraint": {"field": "response_format"},
    },
}
Path = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Response:
    """One generated response; `body` is the value that `raw` was before any byte was flipped."""

    status: int
    headers: dict[str, str]
    body: Any
    raw: bytes

    def as_canned(self) -> Canned:
        return Canned(status=self.status, body=self.raw, headers=self.headers)


def response(vendor: Vendor, chance: random.Random) -> Response:
    """Return a vendor's response with up to three strange places and perhaps flipped bytes."""
    body = _recorded(vendor, chance)
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        body = _mutated(body, chance, (*STRANGE, f"Bearer {vendor.key}"))
    if chance.random() < 0.3:
        body = _mutated(body, chance, NUMBERS, only_numbers=True)
    raw = _as_events(body, chance) if chance.random() < 0.1 else json.dumps(body).encode()
    if chance.random() < 0.25:
        raw = flipped(raw, chance)
    if chance.random() < 0.05:
        raw = raw[: chance.randrange(len(raw) + 1)]
    headers = dict(chance.sample(HEADERS, chance.choice((0, 0, 1, 2))))
    if chance.random() < 0.05:
        raw, headers = gzip.compress(raw, mtime=0), headers | {"Content-Encoding": "gzip"}
    return Response(status=chance.choice(STATUSES), headers=headers, body=body, raw=raw)


def _as_events(body: Any, chance: random.Random) -> bytes:
    """Return a body as a stream that nobody asked for, with or without its end."""
    if not isinstance(body, dict):
        return json.dumps(body).encode()
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    message = choice.get("message") if isinstance(choice, dict) else {}
    text = message.get("content") if isinstance(message, dict) else ""
    head = {name: value for name, value in body.items() if name not in ("choices", "usage")}
    pieces: list[Any] = [text[:3], text[3:]] if isinstance(text, str) else [text]
    chunks = [{**head, "choices": [{"delta": {"content": piece}}]} for piece in pieces]
    if isinstance(choice, dict) and chance.random() < 0.8:
        chunks.append({"choices": [{"delta": {}, "finish_reason": choice.get("finish_reason")}]})
    chunks.append({"choices": [], "usage": body.get("usage")})
    lines = [": OPENROUTER PROCESSING", *(f"data: {json.dumps(chunk)}" for chunk in chunks)]
    if chance.random() < 0.8:
        lines.append("data: [DONE]")
    return "\n\n".join([*lines, ""]).encode()


def flipped(raw: bytes, chance: random.Random) -> bytes:
    """Return the bytes with one to three of them replaced."""
    changed = bytearray(raw)
    for _ in range(chance.randint(1, 3)):
        changed[chance.randrange(len(raw))] = chance.randrange(256)
    return bytes(changed)


def _recorded(vendor: Vendor, chance: random.Random) -> Any:
    kind = chance.randrange(10)
    error = vendor.error(429, f"no, {vendor.key}")
    if kind == 0:
        return error
    if kind == 4:
        return vendor.error(chance.choice((400, 402, 404, 422)), chance.choice(WORDS))
    if kind == 5:
        return vendor.answer(chance.choice(('{"is_lead": true}', '{"is_lead": tr', "[1]")))
    if kind == 1:
        return {"error": error["error"] | ERROR_MEMBERS}
    if kind == 2:
        return vendor.answer() | {"error": ERROR_MEMBERS}
    if kind == 3:
        generation = {"total_cost": 0.5, "is_byok": False, "model": "a/b"}
        return {"data": generation}
    return vendor.answer()


def _mutated(
    body: Any, chance: random.Random, values: tuple[Any, ...], *, only_numbers: bool = False
) -> Any:
    """Return the body with one of its places changed, or gone."""
    places = _places_in(body)
    if only_numbers:
        places = [place for place in places if isinstance(_at(body, place), int | float)]
    if not places:
        return body
    *way, last = chance.choice(places)
    body = copy.deepcopy(body)
    target = _at(body, way)
    if chance.random() < 0.15 and isinstance(target, dict):
        del target[last]
    else:
        target[last] = copy.deepcopy(chance.choice(values))
    return body


def _at(value: Any, path: Sequence[Any]) -> Any:
    for step in path:
        value = value[step]
    return value


def _places_in(value: Any, path: Path = ()) -> list[Path]:
    """Return the path of every member and item."""
    members = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(members, dict):
        return []
    return [
        place
        for key, part in members.items()
        for place in ((*path, key), *_places_in(part, (*path, key)))
    ]
