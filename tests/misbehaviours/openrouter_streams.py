"""Answers of OpenRouter that break after they have begun, streamed or not.

Asked without `stream`, each comes in the form that the same break has in one body.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from decimal import Decimal

from observatory.sandbox.completions import (
    COMMENT,
    DONE,
    chunk,
    completion,
    delta,
    stream,
    text_chunks,
)
from observatory.sandbox.exchange import Exchange, Misbehaviour, Reply
from observatory.sandbox.web import Json, Stream
from tests.misbehaviours.bodies import with_body, with_choice, with_message

WORDS_BEFORE_BREAK = 3
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
    return error_in_choice(completion(exchange), DISCONNECTED)


def _error_body(exchange: Exchange) -> Reply:
    error = {"code": 502, "message": "Provider returned error"}
    return with_body(unbilled(completion(exchange)), choices=None, error=error)


def _only_error(exchange: Exchange) -> Reply:
    """Say 200 and nothing but an error; nothing was generated, so no generation is known."""
    return Reply(status=200, body={"error": DISCONNECTED})


def _blank(exchange: Exchange) -> Reply:
    """End without a word and without a reason, at no cost."""
    whole = unbilled(completion(exchange))
    blank = with_message(whole, content="")
    return with_choice(blank, finish_reason=None, native_finish_reason=None)


def _unasked(exchange: Exchange) -> Reply:
    """Stream the answer although nobody asked for that."""
    whole = completion(exchange)
    wire = Stream(chunks=stream(whole.body), headers=whole.headers)
    return replace(whole, wire=wire, chunks=_streaming(stream, whole.body))


def _as_documented(exchange: Exchange) -> Reply:
    """Break with a top-level error and `finish_reason` error; no `[DONE]`, no bill."""
    whole = completion(exchange)
    return replace(
        error_in_choice(whole, RATE_LIMITED), chunks=_streaming(_documented_chunks, whole.body)
    )


def _as_recorded(exchange: Exchange) -> Reply:
    """Break after `length` with an error in the usage chunk; `[DONE]` and the bill follow."""
    whole = completion(exchange)
    limited = with_body(with_choice(whole, finish_reason="length"), error=TOKEN_LIMIT)
    return replace(limited, chunks=_streaming(_recorded_chunks, whole.body))


def _cut(exchange: Exchange) -> Reply:
    """End without any terminal signal; the whole answer is billed."""
    whole = completion(exchange)
    endless = with_choice(whole, finish_reason=None, native_finish_reason=None)
    return replace(endless, chunks=_streaming(_cut_chunks, whole.body))


def _streaming(source: Callable[[Json], Chunks], body: Json) -> Callable[[], Chunks]:
    return lambda: source(body)


async def _documented_chunks(body: Json) -> Chunks:
    async for piece in _cut_chunks(body):
        yield piece
    yield chunk(body, error=RATE_LIMITED, choices=[delta("", finish_reason="error")])


async def _recorded_chunks(body: Json) -> Chunks:
    async for piece in _cut_chunks(body):
        yield piece
    yield chunk(body, choices=[delta("", finish_reason="length")])
    last = [delta("", finish_reason=None)]
    yield chunk(body, error=TOKEN_LIMIT, choices=last, usage=body["usage"])
    yield DONE


async def _cut_chunks(body: Json) -> Chunks:
    yield COMMENT
    for piece, _ in zip(text_chunks(body), range(WORDS_BEFORE_BREAK), strict=False):
        yield piece
        yield COMMENT


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
