"""What OpenRouter's replies mean: an answer with its cost, or one of our errors.

What is not obvious here comes from OpenRouter's specification and from recorded traffic: an error
may hide in a 200, a cost of 0 may be a price paid elsewhere, and support for structured output is
a matter of the endpoint that serves a model, not of the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from agents.llm import chat_completions, http, replies, upstreams
from agents.llm.base import Completion, CostSource, Usage
from agents.llm.errors import (
    AnswerUnusable,
    LLMError,
    ModelUnavailable,
    NoCredit,
    RequestInvalid,
    SchemaUnsupported,
)
from agents.llm.retries import capped_wait_s

# For the errors that name no HTTP status.
_STATUS_OF_ERROR_TYPE = {
    "authentication": 401,
    "payment_required": 402,
    "permission_denied": 403,
    "content_policy_violation": 403,
    "refusal": 403,
    "not_found": 404,
    "rate_limit_exceeded": 429,
    "server": 500,
    "provider_unavailable": 503,
    "timeout": 504,
    "provider_overloaded": 529,
}
_MODEL_CODES = {"model_not_found", "wrong_endpoint"}  # they come with a 400
_UNKNOWN_MODEL = re.compile(r"not a valid model|model .*(not found|does not exist)", re.IGNORECASE)
_BUDGET = re.compile(r"budget|credit|limit (was )?(exceeded|reached)", re.IGNORECASE)
_SCHEMA = re.compile(
    r"response_format|json_schema|structured.?output|(require_?|requested |supported_)parameters",
    re.IGNORECASE,
)


def completion(reply: http.Reply, *, has_schema: bool) -> Completion:
    """Return the answer: it has content and a terminal signal.

    Raises:
        LLMError: anything else; what a 200 said of usage and cost is its `.learnt`.
    """
    if not 200 <= reply.status < 300:
        raise refusal(reply, has_schema=has_schema)
    seen = _priced(chat_completions.seen(reply), cost_usd=_cost(chat_completions.usage_in(reply)))
    choice = chat_completions.first_choice(reply)
    error = replies.error_object(replies.mapping(reply.body).get("error") or choice.get("error"))
    problem = _failure_inside_200(error) if error else chat_completions.problem(reply, seen)
    return replies.usable(seen, problem, reply.status)


def refusal(reply: http.Reply, *, has_schema: bool) -> LLMError:
    """Return the error that a reply other than 2xx means."""
    failure = _failure(reply.status, replies.error_in(reply), has_schema=has_schema)
    return replies.refused(reply, failure)


def completed_from(lost: Completion, reply: http.Reply) -> Completion:
    """Return the completion with what `GET /generation` says of it, if it does, or yet."""
    generation = replies.mapping(replies.mapping(reply.body).get("data"))
    cost_usd = _total(
        generation.get("total_cost"),
        generation.get("upstream_inference_cost"),
        generation.get("is_byok"),
    )
    if cost_usd is None:
        return lost
    served_model = lost.served_model or replies.storable(replies.text(generation.get("model")))
    if lost.usage == Usage():
        lost = replace(lost, usage=_usage_of(generation))
    upstream = lost.upstream or upstreams.name(generation.get("provider_name"))
    lost = replace(lost, upstream=upstream)
    return _priced(replace(lost, served_model=served_model), cost_usd=cost_usd)


def is_about_generation(reply: http.Reply) -> bool:
    """Return whether a 404 is OpenRouter's own, and not that of a server that has no such page.

    OpenRouter's errors have a status in `code` and no `type`, as those of llama.cpp and OpenAI have.
    """
    error = replies.mapping(replies.mapping(reply.body).get("error"))
    return _status_of(error) == 404 and "type" not in error


def _usage_of(generation: Mapping[str, Any]) -> Usage:
    return Usage(
        input_tokens=replies.count(generation.get("native_tokens_prompt")),
        output_tokens=replies.count(generation.get("native_tokens_completion")),
        cached_input_tokens=replies.count(generation.get("native_tokens_cached")),
        reasoning_tokens=replies.count(generation.get("native_tokens_reasoning")),
    )


def _priced(seen: Completion, *, cost_usd: Decimal | None) -> Completion:
    source = CostSource.UNKNOWN if cost_usd is None else CostSource.REPORTED
    return replace(seen, cost_usd=cost_usd, cost_source=source)


def _cost(usage: Mapping[str, Any]) -> Decimal | None:
    upstream = replies.mapping(usage.get("cost_details")).get("upstream_inference_cost")
    return _total(usage.get("cost"), upstream, usage.get("is_byok"))


def _total(cost: object, upstream: object, is_byok: object) -> Decimal | None:
    """Return the price of a call in dollars.

    With the caller's own vendor key (BYOK), `cost` is OpenRouter's fee and the vendor's price
    stands upstream. Without one, `cost` is all of it and upstream, if there, says the same again.
    `is_byok` may be missing; a cost of 0 with a price upstream is then the BYOK shape.
    """
    fee, price = replies.dollars(cost), replies.dollars(upstream)
    if fee is None:
        return None
    if is_byok is True:
        return None if price is None else fee + price
    if is_byok is None and fee == 0 and price:
        return price
    return fee


def _failure_inside_200(error: Mapping[str, Any]) -> LLMError:
    status = _status_of(error)
    failure = _failure(status, error, has_schema=False)
    if status < 400 or isinstance(failure, RequestInvalid):
        # The request was good enough to start: it broke later.
        return AnswerUnusable(str(failure), error_type=failure.error_type)
    return failure


def _status_of(error: Mapping[str, Any]) -> int:
    """Return the HTTP status that an error object stands for; 0 = nobody knows."""
    for value in (error.get("code"), error.get("http_status")):
        status = (
            int(value) if isinstance(value, str) and re.fullmatch("[1-5][0-9]{2}", value) else value
        )
        if isinstance(status, int) and 100 <= status < 600:
            return status
    return _STATUS_OF_ERROR_TYPE.get(_error_type(error), 0)


# --- an error object ------------------------------------------------------------------------------


def _failure(status: int, error: Mapping[str, Any], *, has_schema: bool) -> LLMError:
    availability = _availability(error)
    message = _message(error) or f"HTTP {status}"
    kind = _special_kind(status, message, error, has_schema=has_schema)
    failure = replies.error_for_status(status, message, error_type=_error_type(error), kind=kind)
    if isinstance(availability.get("retryable"), bool):
        failure.retryable = availability["retryable"]
    if (wait_s := replies.number(availability.get("retry_after"))) is not None:
        failure.retry_after_s = capped_wait_s(float(wait_s))
    models = availability.get("fallback_models")
    if isinstance(models, list):
        failure.fallback_models = tuple(
            replies.cleaned(model) for model in models if replies.text(model)
        )
    return failure


def _special_kind(
    status: int, message: str, error: Mapping[str, Any], *, has_schema: bool
) -> type[LLMError] | None:
    """Return the kind of error where the status alone does not tell it."""
    if has_schema and status in (400, 404) and _is_about_schema(message, error):
        return SchemaUnsupported
    if status == 400 and _is_about_model(message, error):
        return ModelUnavailable
    if status == 403 and _is_about_money(message, error):
        return NoCredit
    return None


def _is_about_schema(message: str, error: Mapping[str, Any]) -> bool:
    constraint = replies.mapping(_availability(error).get("constraint"))
    return bool(_SCHEMA.search(f"{message} {replies.text(constraint.get('field'))}"))


def _is_about_model(message: str, error: Mapping[str, Any]) -> bool:
    code = replies.text(_availability(error).get("code"))
    return code in _MODEL_CODES or bool(_UNKNOWN_MODEL.search(message))


def _is_about_money(message: str, error: Mapping[str, Any]) -> bool:
    is_moderated = "reasons" in replies.mapping(error.get("metadata"))
    return not is_moderated and bool(_BUDGET.search(f"{_error_type(error)} {message}"))


def _availability(error: Mapping[str, Any]) -> Mapping[str, Any]:
    return replies.mapping(error.get("availability"))


def _message(error: Mapping[str, Any]) -> str:
    """Return OpenRouter's text, with the upstream vendor's own where it is quoted."""
    raw = replies.text(replies.mapping(error.get("metadata")).get("raw"))
    return ": ".join(part for part in (replies.text(error.get("message")), raw) if part)


def _error_type(error: Mapping[str, Any]) -> str:
    metadata = replies.mapping(error.get("metadata"))
    for value in (
        metadata.get("error_type"),
        error.get("error_type"),
        _availability(error).get("code"),
    ):
        if replies.text(value):
            return replies.cleaned(replies.text(value))
    return ""
