"""OpenAI's wire format: answers to `/v1/chat/completions`, and errors."""

from __future__ import annotations

import secrets
from typing import Any

from observatory.sandbox.exchange import Exchange, Figures, Reply
from observatory.sandbox.web import Json

# An error's type and code, by HTTP status.
ERRORS = {
    401: ("invalid_request_error", "invalid_api_key"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("server_error", None),
}
OTHER_ERROR = ("invalid_request_error", None)


def failure(status: int, text: str, **details: Any) -> Reply:
    """Return OpenAI's error response; `headers` in `details` become HTTP headers."""
    headers = details.pop("headers", {})
    kind, code = ERRORS.get(status, OTHER_ERROR)
    usual = {"message": text, "type": kind, "param": None, "code": code}
    return Reply(status=status, body={"error": usual | details}, headers=_request_id() | headers)


def written(exchange: Exchange, text: str) -> Reply:
    """Return OpenAI's full response with an answer's text."""
    text, is_cut = exchange.fitted(text)
    figures = exchange.figures(text)
    completion_id = f"chatcmpl-{exchange.n:029d}"
    body = {
        "id": completion_id,
        "object": "chat.completion",
        "created": int(exchange.at),
        "model": exchange.model.served_as,
        "choices": [_choice(text, is_cut=is_cut)],
        "usage": _usage(figures),
    }
    return Reply(
        status=200,
        body=body,
        headers=_request_id(),
        billed=figures.total_usd,
        generation={
            "id": completion_id,
            "model": exchange.model.served_as,
            "tokens_prompt": figures.prompt_tokens,
            "tokens_completion": figures.completion_tokens,
        },
    )


def _choice(text: str, *, is_cut: bool) -> Json:
    return {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []},
        "logprobs": None,
        "finish_reason": "length" if is_cut else "stop",
    }


def _usage(figures: Figures) -> Json:
    return {
        "prompt_tokens": figures.prompt_tokens,
        "completion_tokens": figures.completion_tokens,
        "total_tokens": figures.prompt_tokens + figures.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _request_id() -> dict[str, str]:
    return {"x-request-id": f"req_{secrets.token_hex(16)}"}
