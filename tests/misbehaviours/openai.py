"""All that goes wrong at OpenAI only: ask for `sandbox-<name>`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from observatory.sandbox.exchange import Exchange, Reply
from observatory.sandbox.openai import QUOTA, failure, written
from tests.misbehaviours.bodies import (
    CHOICES,
    served_by,
    spoiled,
    truncated,
    with_choice,
    with_message,
)
from tests.misbehaviours.kinds import CountedExchange, Misbehaviour

RATE_LIMIT = "Rate limit reached for this model in your organization on requests per min (RPM)"
SERVER_ERROR = "The server had an error while processing your request. Sorry about that!"
OVERLOADED = "The engine is currently overloaded, please try again later"


def _failing(status: int, text: str, **error: Any) -> Misbehaviour:
    return lambda exchange: failure(status, text, **error)


def _echo_key(exchange: Exchange) -> Reply:
    return failure(401, f"Incorrect API key provided: {exchange.key}.")


def _unknown_model(exchange: Exchange) -> Reply:
    text = f"The model `{exchange.model.id}` does not exist or you do not have access to it."
    return failure(404, text, code="model_not_found")


def _flaky(exchange: CountedExchange) -> Reply:
    if exchange.attempt == 1:
        return failure(429, RATE_LIMIT, headers={"retry-after": "0"})
    return written(exchange, exchange.answer())


def _error_in_200(exchange: Exchange) -> Reply:
    return replace(failure(500, SERVER_ERROR), status=200)


def _refusal(exchange: Exchange) -> Reply:
    """Refuse as models held to a schema do: no content, and an ordinary end."""
    refusal = "I'm sorry, I cannot help with this request."
    return with_message(written(exchange, ""), content=None, refusal=refusal)


def _filtered(exchange: Exchange) -> Reply:
    return with_choice(written(exchange, ""), finish_reason="content_filter")


MISBEHAVIOURS: dict[str, Misbehaviour] = {
    **spoiled(written, CHOICES | {"other-model": served_by("gpt-3.5-turbo-0125")}),
    "truncated": truncated(written),
    "error-in-200": _error_in_200,
    "refusal": _refusal,
    "filtered": _filtered,
    "unknown-model": _unknown_model,
    "echo-key": _echo_key,
    "no-credit": _failing(429, QUOTA, type="insufficient_quota", code="insufficient_quota"),
    "forbidden": _failing(
        403, "Your project does not have access to this model", code="model_not_found"
    ),
    "conflict": _failing(409, "The request conflicts with another one that is under way"),
    "error-429": _failing(429, RATE_LIMIT, headers={"retry-after": "1"}),
    "error-429-bare": _failing(429, RATE_LIMIT),
    "flaky-429": _flaky,
    "error-500": _failing(500, SERVER_ERROR),
    "overloaded": _failing(503, OVERLOADED),
}
