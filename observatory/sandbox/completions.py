"""OpenRouter's answers to chat/completions: bodies, usage and cost."""

from __future__ import annotations

from typing import Any

from observatory.sandbox.exchange import Exchange, Figures, Reply
from observatory.sandbox.web import Json


def failure(status: int, text: str, **details: Any) -> Reply:
    """Return OpenRouter's error body; `headers` among the keywords go to the HTTP headers."""
    headers = details.pop("headers", {})
    return Reply(
        status=status,
        body={"error": {"code": status, "message": text} | details},
        headers=headers,
    )


def written(exchange: Exchange, text: str) -> Reply:
    """Return the full response around an answer's text."""
    text, is_cut = exchange.fitted(text)
    figures = exchange.figures(text)
    generation_id = f"gen-{int(exchange.at)}-{exchange.n:012d}"
    body = {
        "id": generation_id,
        "provider": exchange.model.provider,
        "model": exchange.model.served_as,
        "object": "chat.completion",
        "created": int(exchange.at),
        "choices": [_choice(text, is_cut=is_cut)],
        "usage": _usage(figures),
    }
    return Reply(
        status=200,
        body=body,
        headers={"x-generation-id": generation_id, "x-provider-name": exchange.model.provider},
        billed=figures.total_usd,
        generation=_generation(body, figures),
    )


def _choice(text: str, *, is_cut: bool) -> Json:
    return {
        "index": 0,
        "finish_reason": "length" if is_cut else "stop",
        "native_finish_reason": "max_tokens" if is_cut else "completed",
        "logprobs": None,
        "message": {
            "role": "assistant",
            "content": text,
            "refusal": None,
            "reasoning": None,
        },
    }


def _usage(figures: Figures) -> Json:
    return {
        "prompt_tokens": figures.prompt_tokens,
        "completion_tokens": figures.completion_tokens,
        "total_tokens": figures.prompt_tokens + figures.completion_tokens,
        "cost": float(figures.total_usd),
        "is_byok": False,
        "prompt_tokens_details": {
            "cached_tokens": 0,
        },
        "completion_tokens_details": {"reasoning_tokens": 0},
        "cost_details": {
            "upstream_inference_cost": None,
            "upstream_inference_prompt_cost": float(figures.costs[0]),
            "upstream_inference_completions_cost": float(figures.costs[1]),
        },
    }


def _generation(body: Json, figures: Figures) -> Json:
    choice = body["choices"][0]
    return {
        "id": body["id"],
        "model": body["model"],
        "provider_name": body["provider"],
        "total_cost": float(figures.total_usd),
        "usage": float(figures.total_usd),
        "is_byok": False,
        "upstream_inference_cost": None,
        "tokens_prompt": figures.prompt_tokens,
        "tokens_completion": figures.completion_tokens,
        "native_tokens_prompt": figures.prompt_tokens,
        "native_tokens_completion": figures.completion_tokens,
        "finish_reason": choice["finish_reason"],
        "native_finish_reason": choice["native_finish_reason"],
    }
