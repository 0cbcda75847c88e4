"""OpenRouter's wire format: answers to chat/completions, with usage and cost, and errors."""

from __future__ import annotations

from typing import Any

from observatory.sandbox import chat_api
from observatory.sandbox.exchange import Exchange, Figures, Reply
from observatory.sandbox.web import Json

NATIVE_REASONS = {"stop": "completed", "length": "max_tokens"}


def failure(status: int, text: str, **details: Any) -> Reply:
    """Return OpenRouter's error response; `headers` in `details` become HTTP headers."""
    headers = details.pop("headers", {})
    return Reply(
        status=status,
        body={"error": {"code": status, "message": text} | details},
        headers=headers,
    )


def written(exchange: Exchange, text: str) -> Reply:
    """Return the full response with an answer's text: OpenAI's plus OpenRouter's additions."""
    plain = chat_api.written(exchange, text)
    (choice,) = plain.body["choices"]
    figures = exchange.figures(choice["message"]["content"])
    generation_id = f"gen-{int(exchange.at)}-{exchange.n:012d}"
    native = {"native_finish_reason": NATIVE_REASONS[choice["finish_reason"]]}
    body = plain.body | {
        "id": generation_id,
        "provider": exchange.model.provider,
        "choices": [choice | native],
        "usage": plain.body["usage"] | _costs(figures),
    }
    return Reply(
        status=200,
        body=body,
        headers={"x-generation-id": generation_id, "x-provider-name": exchange.model.provider},
        billed=figures.total_usd,
        generation=_generation(body, figures),
    )


def _costs(figures: Figures) -> Json:
    return {
        "cost": float(figures.total_usd),
        "is_byok": False,
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
