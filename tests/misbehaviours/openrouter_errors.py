"""OpenRouter's refusals and failures, each in the shape of the real one; none is billed."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from observatory.sandbox.exchange import Exchange, Reply
from observatory.sandbox.openrouter import failure, written
from observatory.sandbox.web import Json
from tests.misbehaviours.kinds import CountedExchange, Misbehaviour

A_YEAR_S = "31536000"


def _failing(status: int, message: str, **error: Any) -> Misbehaviour:
    return lambda exchange: failure(status, message, **error)


def _of_type(status: int, message: str, error_type: str) -> Misbehaviour:
    return _failing(status, message, metadata={"error_type": error_type})


def _rate_limited(retry_after: str | None) -> Reply:
    return failure(
        429,
        "Provider returned error",
        metadata={
            "provider_name": "Sandbox",
            "raw": "temporarily rate-limited upstream",
            "error_type": "rate_limit_exceeded",
        },
        headers={} if retry_after is None else {"retry-after": retry_after},
    )


def _limited(retry_after: str | None) -> Misbehaviour:
    return lambda exchange: _rate_limited(retry_after)


def _limited_until_date(exchange: Exchange) -> Reply:
    in_a_second = datetime.fromtimestamp(int(exchange.at) + 1, UTC)
    return _rate_limited(format_datetime(in_a_second, usegmt=True))


def _flaky(exchange: CountedExchange) -> Reply:
    return _rate_limited("0") if exchange.attempt == 1 else written(exchange, exchange.answer())


def _echo_key(exchange: Exchange) -> Reply:
    return failure(401, f"No auth credentials found for {exchange.key}")


def _unknown_model(exchange: Exchange) -> Reply:
    return failure(400, f"{exchange.model.id} is not a valid model ID")


def _retired(exchange: Exchange) -> Reply:
    return failure(
        404,
        f"{exchange.model.id} has been deprecated",
        metadata={"error_type": "not_found"},
        availability=_availability(exchange, "model_deprecated"),
    )


def _retired_by_type(exchange: Exchange) -> Reply:
    """Return the newer spelling: no `code`, but `error_type` and `http_status`."""
    reply = _retired(exchange)
    error = {key: value for key, value in reply.body["error"].items() if key != "code"}
    del error["metadata"]
    newer = {"error_type": "not_found", "http_status": 404}
    return Reply(status=404, body={"error": error | newer})


def _unavailable(exchange: Exchange) -> Reply:
    return failure(
        503,
        f"{exchange.model.id} is temporarily unavailable",
        metadata={"error_type": "provider_unavailable"},
        availability=_availability(exchange, "temporarily_unavailable", retry_after=1),
    )


def _availability(exchange: Exchange, code: str, retry_after: int | None = None) -> Json:
    return {
        "code": code,
        "retryable": retry_after is not None,
        "retry_after": retry_after,
        "requested_models": [exchange.model.id],
        "affected_providers": ["Sandbox"],
        "excluded_by": None,
        "fallback_models": ["anthropic/claude-sonnet-4.5", "openai/gpt-5-mini"],
        "constraint": None,
        "docs_url": "https://openrouter.ai/docs",
    }


FORBIDDEN = _failing(
    403,
    "Blocked by a guardrail",
    metadata={
        "reasons": ["guardrail"],
        "flagged_input": "…",
        "provider_name": "Sandbox",
        "model_slug": "sandbox/forbidden",
        "error_type": "permission_denied",
    },
)

ERRORS: dict[str, Misbehaviour] = {
    "unknown-model": _unknown_model,
    "echo-key": _echo_key,
    "no-credit": _failing(402, "Insufficient credits. Add more and try again."),
    "forbidden": FORBIDDEN,
    "budget": _of_type(403, "Budget exceeded for this key: $25.00 a month", "permission_denied"),
    "retired": _retired,
    "retired-by-type": _retired_by_type,
    "error-408": _of_type(408, "Request timed out", "timeout"),
    "error-413": _of_type(413, "Payload too large", "payload_too_large"),
    "error-422": _of_type(422, "Unprocessable request", "unprocessable"),
    "error-429": _limited("1"),
    "error-429-bare": _limited(None),
    "error-429-date": _limited_until_date,
    "error-429-huge": _limited(A_YEAR_S),
    "error-429-garbage": _limited("soon"),
    "flaky-429": _flaky,
    "error-500": _of_type(500, "Internal Server Error", "server"),
    "error-502": _of_type(502, "Provider returned an invalid response", "provider_unavailable"),
    "unavailable-503": _unavailable,
    "error-504": _of_type(504, "The provider did not answer in time", "timeout"),
    "error-524": _of_type(524, "A timeout occurred", "timeout"),
    "error-529": _of_type(529, "Provider is overloaded", "provider_overloaded"),
}
