"""OpenRouter's answers to chat/completions: bodies, usage, cost and the streamed form.

Costs are exact: token estimate times the catalogue's price in Decimal, a number only on the wire.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from observatory.sandbox.answers import answer
from observatory.sandbox.catalogue import Model
from observatory.sandbox.phrases import read_message
from observatory.sandbox.web import Json

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_IMAGE = 258


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One valid request: who asks which model what; `attempt` counts equal requests from 1."""

    n: int
    key: str
    model: Model
    messages: list[Json]
    schema: Json | None
    at: float
    attempt: int

    @property
    def prompt(self) -> str:
        """The text of the last user message."""
        texts = [text_of(message) for message in self.messages if message.get("role") == "user"]
        return texts[-1] if texts else ""

    @property
    def is_corrected(self) -> bool:
        """Whether the conversation holds an earlier answer or a second request."""
        roles = [message.get("role") for message in self.messages]
        return "assistant" in roles or roles.count("user") > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes back, what is billed for it, and what `/generation` will tell."""

    status: int
    body: Json
    headers: dict[str, str] = field(default_factory=dict)
    billed: Decimal = Decimal(0)
    generation: Json | None = None


def failure(status: int, message: str, **error: Any) -> Reply:
    """Return OpenRouter's error body; `headers` among the keywords go to the HTTP headers."""
    headers = error.pop("headers", {})
    return Reply(
        status=status,
        body={"error": {"code": status, "message": message} | error},
        headers=headers,
    )


def completion(exchange: Exchange) -> Reply:
    """Return a sound answer to this exchange."""
    text = answer(exchange.schema, read_message(exchange.prompt), exchange.model.id)
    return written(exchange, text)


def written(exchange: Exchange, text: str) -> Reply:
    """Return the full response around an answer's text."""
    prompt_tokens = _tokens(exchange.messages)
    completion_tokens = _text_tokens(text)
    costs = exchange.model.cost_usd(
        prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, at=exchange.at
    )
    total = sum(costs, Decimal(0))
    generation_id = f"gen-{int(exchange.at)}-{exchange.n:012d}"
    body = {
        "id": generation_id,
        "provider": exchange.model.provider,
        "model": exchange.model.served_as,
        "object": "chat.completion",
        "created": int(exchange.at),
        "system_fingerprint": None,
        "service_tier": None,
        "choices": [_choice(text)],
        "usage": _usage(prompt_tokens, completion_tokens, costs),
    }
    return Reply(
        status=200,
        body=body,
        headers={"x-generation-id": generation_id, "x-provider-name": exchange.model.provider},
        billed=total,
        generation=_generation(body, total),
    )


def _choice(text: str) -> Json:
    return {
        "index": 0,
        "finish_reason": "stop",
        "native_finish_reason": "completed",
        "logprobs": None,
        "message": {
            "role": "assistant",
            "content": text,
            "refusal": None,
            "reasoning": None,
            "reasoning_details": [],
        },
    }


def _usage(prompt_tokens: int, completion_tokens: int, costs: tuple[Decimal, Decimal]) -> Json:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "cost": float(sum(costs, Decimal(0))),
        "is_byok": False,
        "prompt_tokens_details": {
            "cached_tokens": 0,
            "cache_write_tokens": 0,
            "audio_tokens": 0,
            "video_tokens": 0,
        },
        "completion_tokens_details": {"reasoning_tokens": 0, "image_tokens": 0, "audio_tokens": 0},
        "cost_details": {
            "upstream_inference_cost": None,
            "upstream_inference_prompt_cost": float(costs[0]),
            "upstream_inference_completions_cost": float(costs[1]),
        },
    }


def _generation(body: Json, total: Decimal) -> Json:
    usage, choice = body["usage"], body["choices"][0]
    return {
        "id": body["id"],
        "model": body["model"],
        "provider_name": body["provider"],
        "total_cost": float(total),
        "usage": float(total),
        "is_byok": False,
        "upstream_inference_cost": None,
        "tokens_prompt": usage["prompt_tokens"],
        "tokens_completion": usage["completion_tokens"],
        "native_tokens_prompt": usage["prompt_tokens"],
        "native_tokens_completion": usage["completion_tokens"],
        "latency": 1,
        "generation_time": 1,
        "finish_reason": choice["finish_reason"],
        "native_finish_reason": choice["native_finish_reason"],
        "streamed": False,
        "cancelled": False,
        "session_id": None,
        "external_user": None,
    }


def text_of(message: Json) -> str:
    """Return the text parts of a message as one text."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")


def images_in(messages: list[Json]) -> int:
    """Return how many pictures the conversation holds."""
    parts = [part for message in messages for part in _parts(message)]
    return sum(part.get("type") == "image_url" for part in parts)


def _parts(message: Json) -> list[Json]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _tokens(messages: list[Json]) -> int:
    texts = sum(_text_tokens(text_of(message)) for message in messages)
    return texts + TOKENS_PER_IMAGE * images_in(messages)


def _text_tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


async def stream(body: Json) -> AsyncGenerator[bytes, None]:
    """Yield a finished answer as OpenRouter streams it, comments included."""
    head = {key: body[key] for key in ("id", "provider", "model", "created")}
    head["object"] = "chat.completion.chunk"
    choice = body["choices"][0]
    yield b": OPENROUTER PROCESSING\n\n"
    words = choice["message"]["content"].split(" ")
    for position, word in enumerate(words):
        text = word if position == 0 else f" {word}"
        yield _chunk(head | {"choices": [_delta(text, finish_reason=None)]})
    yield _chunk(head | {"choices": [_delta("", finish_reason=choice["finish_reason"])]})
    yield _chunk(head | {"choices": [], "usage": body["usage"]})
    yield b"data: [DONE]\n\n"


def _delta(text: str, *, finish_reason: str | None) -> Json:
    return {
        "index": 0,
        "delta": {"role": "assistant", "content": text},
        "finish_reason": finish_reason,
        "native_finish_reason": finish_reason and "completed",
        "logprobs": None,
    }


def _chunk(value: Json) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()
