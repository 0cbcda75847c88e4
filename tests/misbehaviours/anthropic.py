"""All that goes wrong at Anthropic only: ask for `sandbox-<name>`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from observatory.sandbox.anthropic import failure, written
from observatory.sandbox.exchange import Exchange, Reply
from tests.misbehaviours.bodies import served_by, spoiled, with_body, without_usage
from tests.misbehaviours.kinds import CountedExchange, Misbehaviour, Spoiling
from tests.misbehaviours.texts import cut

REFUSED = {
    "type": "refusal",
    "category": "general_harms",
    "explanation": "I cannot help with this request.",
}
RATE_LIMIT = "This request would exceed your organization's rate limit of 4,000 requests per minute"
LOW_BALANCE = (
    "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to"
    " upgrade or purchase credits."
)


def _failing(status: int, text: str, **error: Any) -> Misbehaviour:
    return lambda exchange: failure(status, text, **error)


def _echo_key(exchange: Exchange) -> Reply:
    return failure(401, f"invalid x-api-key: {exchange.key}")


def _unknown_model(exchange: Exchange) -> Reply:
    return failure(404, f"model: {exchange.model.id}")


def _flaky(exchange: CountedExchange) -> Reply:
    if exchange.attempt == 1:
        return failure(529, "Overloaded")
    return written(exchange, exchange.answer())


def _error_in_200(exchange: Exchange) -> Reply:
    return replace(failure(529, "Overloaded"), status=200)


def _refusal(exchange: Exchange) -> Reply:
    return with_body(written(exchange, ""), stop_reason="refusal", stop_details=REFUSED)


def _truncated(exchange: Exchange) -> Reply:
    return with_body(written(exchange, cut(exchange)), stop_reason="max_tokens")


def _ending(stop_reason: str | None) -> Spoiling:
    return lambda reply: with_body(reply, stop_reason=stop_reason)


def _using_tool(reply: Reply) -> Reply:
    use = {"type": "tool_use", "id": "toolu_sandbox", "name": "look_up", "input": {"query": "cost"}}
    return with_body(reply, content=[use], stop_reason="tool_use")


def _in_parts(reply: Reply) -> Reply:
    text = reply.body["content"][0]["text"]
    middle = len(text) // 2
    parts = [{"type": "text", "text": part} for part in (text[:middle], text[middle:])]
    thinking = {"type": "thinking", "thinking": "They worry.", "signature": "c2FuZGJveA=="}
    return with_body(reply, content=[thinking, *parts])


SPOILED: dict[str, Spoiling] = {
    "no-usage": without_usage,
    "no-finish": _ending(None),
    "context-exceeded": _ending("model_context_window_exceeded"),
    "pause-turn": _ending("pause_turn"),
    "tool-calls": _using_tool,
    "content-parts": _in_parts,
    "null-content": lambda reply: with_body(reply, content=None),
    "other-model": served_by("claude-3-haiku-20240307"),
}

MISBEHAVIOURS: dict[str, Misbehaviour] = {
    **spoiled(written, SPOILED),
    "error-in-200": _error_in_200,
    "refusal": _refusal,
    "truncated": _truncated,
    "unknown-model": _unknown_model,
    "echo-key": _echo_key,
    "low-balance": _failing(400, LOW_BALANCE),
    "no-credit": _failing(402, "Your organization has no credit left"),
    "forbidden": _failing(403, "Your API key does not have permission to use this model"),
    "error-413": _failing(413, "Request exceeds the maximum size"),
    "error-429": _failing(429, RATE_LIMIT, headers={"retry-after": "1"}),
    "error-429-bare": _failing(429, RATE_LIMIT),
    "error-500": _failing(500, "Internal server error"),
    "error-504": _failing(504, "Request timed out"),
    "overloaded": _failing(529, "Overloaded"),
    "flaky-overloaded": _flaky,
}
