"""Answers of OpenRouter that break after they have begun, in the form of one body."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

from starlette.responses import StreamingResponse

from observatory.sandbox.exchange import Exchange, Reply
from observatory.sandbox.openrouter import written
from observatory.sandbox.web import Json
from tests.misbehaviours.bodies import with_body, with_choice, with_message
from tests.misbehaviours.kinds import Misbehaviour

COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"
DISCONNECTED = {
    "code": 502,
    "message": "Provider disconnected",
    "metadata": {"error_type": "provider_unavailable"},
}
RATE_LIMITED = {
    "code": 429,
    "message": "Rate limit exceeded",
    "metadata": {"error_type": "rate_limit_exceeded", "provider_code": "429"},
}
TOKEN_LIMIT = {"code": 400, "message": "Token limit reached"}

Chunks = AsyncGenerator[bytes, None]


def _completion(exchange: Exchange) -> Reply:
    return written(exchange, exchange.answer())


def error_in_choice(reply: Reply, error: Json) -> Reply:
    """Return the reply as it is when the model breaks off: a partial text, not billed."""
    text = reply.body["choices"][0]["message"]["content"]
    partial = with_message(unbilled(reply), content=text[:20])
    return with_choice(partial, finish_reason="error", error=error)


def unbilled(reply: Reply) -> Reply:
    """Return the reply as OpenRouter bills an answer that ended in an error: not at all."""
    free = with_body(reply, usage=reply.body["usage"] | {"cost": 0})
    generation = (reply.generation or {}) | {"total_cost": 0, "usage": 0}
    return replace(free, billed=Decimal(0), generation=generation)


def _error_in_200(exchange: Exchange) -> Reply:
    return error_in_choice(_completion(exchange), DISCONNECTED)


def _error_body(exchange: Exchange) -> Reply:
    error = {"code": 502, "message": "Provider returned error"}
    return with_body(unbilled(_completion(exchange)), choices=None, error=error)


def _only_error(exchange: Exchange) -> Reply:
    """Say 200 and nothing but an error; nothing was generated, so no generation is known."""
    return Reply(status=200, body={"error": DISCONNECTED})


def _blank(exchange: Exchange) -> Reply:
    """End without a word and without a reason, at no cost."""
    whole = unbilled(_completion(exchange))
    blank = with_message(whole, content="")
    return with_choice(blank, finish_reason=None, native_finish_reason=None)


def _unasked(exchange: Exchange) -> Reply:
    """Stream the answer although nobody asked for that."""
    whole = _completion(exchange)
    wire = StreamingResponse(_stream(whole.body), 200, whole.headers, "text/event-stream")
    return replace(whole, wire=wire)


def _as_documented(exchange: Exchange) -> Reply:
    """Break with an error in the choice, at no cost."""
    whole = _completion(exchange)
    return error_in_choice(whole, RATE_LIMITED)


def _as_recorded(exchange: Exchange) -> Reply:
    """Break after `length` with an error at the top; it is billed."""
    whole = _completion(exchange)
    return with_body(with_choice(whole, finish_reason="length"), error=TOKEN_LIMIT)


def _cut(exchange: Exchange) -> Reply:
    """End without any terminal signal; the whole answer is billed."""
    whole = _completion(exchange)
    return with_choice(whole, finish_reason=None, native_finish_reason=None)


async def _stream(body: Json) -> AsyncGenerator[bytes, None]:
    """Yield a finished answer as OpenRouter streams it, comments included."""
    choice = body["choices"][0]
    yield COMMENT
    for piece in _text_chunks(body):
        yield piece
    yield _chunk(body, choices=[_delta("", finish_reason=choice["finish_reason"])])
    yield _chunk(body, choices=[], usage=body["usage"])
    yield DONE


def _text_chunks(body: Json) -> Iterator[bytes]:
    """Yield the answer's text in chunks, a word each."""
    words = body["choices"][0]["message"]["content"].split(" ")
    for position, word in enumerate(words):
        text = word if position == 0 else f" {word}"
        yield _chunk(body, choices=[_delta(text, finish_reason=None)])


def _chunk(body: Json, **values: Any) -> bytes:
    """Return one chunk of the stream of `body`."""
    head = {key: body[key] for key in ("id", "provider", "model", "created")}
    head["object"] = "chat.completion.chunk"
    return f"data: {json.dumps(head | values)}\n\n".encode()


def _delta(text: str, *, finish_reason: str | None) -> Json:
    """Return the choice of a chunk."""
    return {
        "index": 0,
        "delta": {"role": "assistant", "content": text},
        "finish_reason": finish_reason,
        "native_finish_reason": finish_reason and "completed",
        "logprobs": None,
    }


BREAKS: dict[str, Misbehaviour] = {
    "error-in-200": _error_in_200,
    "error-body-200": _error_body,
    "only-error-200": _only_error,
    "blank-free": _blank,
    "unasked-stream": _unasked,
    "stream-error-documented": _as_documented,
    "stream-error-recorded": _as_recorded,
    "stream-cut": _cut,
}
