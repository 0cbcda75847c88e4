"""Models that go wrong on purpose: ask for `sandbox/<name>` to see how a client bears it.

To add one: write a function from an exchange to a reply and give it a line in `MISBEHAVIOURS`.
What only takes its time, and then answers well, has a line in `DELAYS_S`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from observatory.sandbox.completions import Exchange, Reply, completion, failure, written
from observatory.sandbox.web import Json

Misbehaviour = Callable[[Exchange], Reply]

AUTHOR = "sandbox/"
DELAYS_S = {"slow": 5.0, "hang": math.inf}
LATENCY = re.compile(r"latency-(\d{1,6})")
PROSE = "Sure! Here is what I think about it, in plain words and without any braces."


def misbehaviour(model_id: str) -> Misbehaviour | None:
    """Return how `model_id` answers, or None if it is no model of author `sandbox/`."""
    if not model_id.startswith(AUTHOR):
        return None
    if is_slow(model_id):
        return completion
    return MISBEHAVIOURS.get(model_id.removeprefix(AUTHOR))


def is_slow(model_id: str) -> bool:
    """Tell whether `model_id` is one that only takes its time."""
    name = model_id.removeprefix(AUTHOR)
    return name in DELAYS_S or LATENCY.fullmatch(name) is not None


def delay_s(model_id: str) -> float:
    """Return how many seconds `model_id` takes before it answers."""
    if not model_id.startswith(AUTHOR):
        return 0.0
    name = model_id.removeprefix(AUTHOR)
    latency = LATENCY.fullmatch(name)
    return int(latency[1]) / 1000 if latency else DELAYS_S.get(name, 0.0)


def _failing(status: int, message: str, **error: Any) -> Misbehaviour:
    return lambda exchange: failure(status, message, **error)


def _rate_limited(retry_after: str) -> Reply:
    return failure(
        429,
        "Provider returned error",
        metadata={
            "provider_name": "Sandbox",
            "raw": "temporarily rate-limited upstream",
            "error_type": "rate_limit_exceeded",
        },
        headers={"retry-after": retry_after},
    )


def _flaky(exchange: Exchange) -> Reply:
    return _rate_limited("0") if exchange.attempt == 1 else completion(exchange)


def _retired(exchange: Exchange) -> Reply:
    return failure(
        404,
        f"{exchange.model.id} has been deprecated",
        metadata={"error_type": "not_found"},
        availability={
            "code": "model_deprecated",
            "retryable": False,
            "retry_after": None,
            "requested_models": [exchange.model.id],
            "affected_providers": ["Sandbox"],
            "excluded_by": None,
            "fallback_models": ["anthropic/claude-sonnet-4.5", "openai/gpt-5-mini"],
            "constraint": None,
            "docs_url": "https://openrouter.ai/docs",
        },
    )


def _error_in_choice(exchange: Exchange) -> Reply:
    reply = _unbilled(completion(exchange))
    choice = reply.body["choices"][0]
    choice["finish_reason"] = "error"
    choice["error"] = {
        "code": 502,
        "message": "Provider disconnected",
        "metadata": {"error_type": "provider_unavailable"},
    }
    choice["message"]["content"] = choice["message"]["content"][:20]
    return reply


def _error_in_body(exchange: Exchange) -> Reply:
    error = {"code": 502, "message": "Provider returned error"}
    reply = _unbilled(completion(exchange))
    return replace(reply, body=reply.body | {"choices": None, "error": error})


def _unbilled(reply: Reply) -> Reply:
    """Return the reply as OpenRouter bills an answer that ended in an error: not at all."""
    reply.body["usage"]["cost"] = 0
    generation = (reply.generation or {}) | {"total_cost": 0, "usage": 0}
    return replace(reply, billed=Decimal(0), generation=generation)


def _without_finish(exchange: Exchange) -> Reply:
    reply = completion(exchange)
    reply.body["choices"][0] |= {"finish_reason": None, "native_finish_reason": None}
    return reply


def _without_choices(exchange: Exchange) -> Reply:
    reply = completion(exchange)
    return replace(reply, body=reply.body | {"choices": None})


def _served_by(model_id: str) -> Misbehaviour:
    def answer_as_another(exchange: Exchange) -> Reply:
        reply = completion(exchange)
        served = {"model": model_id}
        return replace(
            reply, body=reply.body | served, generation=(reply.generation or {}) | served
        )

    return answer_as_another


def _byok(exchange: Exchange) -> Reply:
    reply = completion(exchange)
    usage = reply.body["usage"]
    details = usage["cost_details"] | {"upstream_inference_cost": usage["cost"]}
    facts: Json = {"total_cost": 0, "is_byok": True, "upstream_inference_cost": usage["cost"]}
    usage |= {"cost": 0, "is_byok": True, "cost_details": details}
    return replace(reply, generation=(reply.generation or {}) | facts)


def _without_cost(exchange: Exchange) -> Reply:
    reply = completion(exchange)
    del reply.body["usage"]["cost"], reply.body["usage"]["cost_details"]
    return reply


def _prose(exchange: Exchange) -> Reply:
    return written(exchange, PROSE)


def _prose_once(exchange: Exchange) -> Reply:
    return completion(exchange) if exchange.is_corrected else _prose(exchange)


def _broken_json(exchange: Exchange) -> Reply:
    text: str = completion(exchange).body["choices"][0]["message"]["content"]
    return written(exchange, text.removesuffix("}") + ",")


def _echo_key(exchange: Exchange) -> Reply:
    return failure(401, f"No auth credentials found for {exchange.key}")


def _refusal(exchange: Exchange) -> Reply:
    reply = written(exchange, "")
    choice = reply.body["choices"][0]
    choice |= {"finish_reason": "content_filter", "native_finish_reason": "refusal"}
    choice["message"]["refusal"] = "I cannot help with this request."
    return reply


MISBEHAVIOURS: dict[str, Misbehaviour] = {
    "error-500": _failing(500, "Internal Server Error", metadata={"error_type": "server"}),
    "error-429": lambda exchange: _rate_limited("1"),
    "flaky-429": _flaky,
    "no-credit": _failing(402, "Insufficient credits. Add more and try again."),
    "forbidden": _failing(
        403,
        "Blocked by a guardrail",
        metadata={
            "reasons": ["guardrail"],
            "flagged_input": "…",
            "provider_name": "Sandbox",
            "model_slug": "sandbox/forbidden",
            "error_type": "permission_denied",
        },
    ),
    "retired": _retired,
    "error-in-200": _error_in_choice,
    "error-body-200": _error_in_body,
    "null-choices": _without_choices,
    "no-finish": _without_finish,
    "other-model": _served_by("openai/gpt-4o-mini"),
    "dated": _served_by("sandbox/dated-20260901"),
    "byok": _byok,
    "no-cost": _without_cost,
    "bad-json": _prose,
    "bad-json-once": _prose_once,
    "broken-json": _broken_json,
    "echo-key": _echo_key,
    "refusal": _refusal,
}
