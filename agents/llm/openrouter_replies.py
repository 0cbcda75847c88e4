"""Interpret OpenRouter's replies: an answer with its cost, or one of our errors.

The less obvious rules come from OpenRouter's specification and from recorded traffic: a 200 may
contain an error, and with a cost of 0 the price may have been paid to the upstream vendor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from agents.llm import chat_completions, http, refusals, replies, upstreams
from agents.llm.completion import Completion, CostSource, Usage
from agents.llm.errors import LLMError
from agents.llm.retries import capped_wait_s
from agents.llm.signs import Sent

# For errors that name a type but no HTTP status.
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


def completion(reply: http.Reply, sent: Sent) -> Completion:
    """Return the answer in a reply, with its cost.

    Raises:
        LLMError: the reply has no complete answer; `.learnt` holds usage and cost from a 200.
    """
    if not 200 <= reply.status < 300:
        raise refusal(reply, sent)
    choice = chat_completions.first_choice(reply)
    error = replies.error_object(replies.mapping(reply.body).get("error") or choice.get("error"))
    if error and replies.holds_nothing_else(reply, "choices"):
        raise replies.unbilled(_told(_understood(_status_of(error), error, sent), error), reply)
    seen = chat_completions.seen(reply, sent)
    seen = _priced(seen, cost_usd=_cost(chat_completions.usage_in(reply)))
    problem = _failure_inside_200(error) if error else chat_completions.problem(reply, seen)
    return replies.usable(seen, problem, reply.status)


def refusal(reply: http.Reply, sent: Sent) -> LLMError:
    """Return the error for a reply other than 2xx."""
    return _told(refusals.refused(reply, sent), replies.error_in(reply))


def completed_from(lost: Completion, reply: http.Reply) -> Completion:
    """Return the completion with cost, usage and model from a reply to `GET /generation`.

    Returns it unchanged if the reply has no cost, or not yet.
    """
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
    """Return whether a 404 is OpenRouter's own, not that of a server without `/generation`.

    OpenRouter's error objects have a status in `code` and no `type`, unlike those of llama.cpp and
    OpenAI, which have a `type`.
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
    """Return the total price of a call in dollars, or None if it is unknown.

    With the caller's own vendor key (BYOK), `cost` is OpenRouter's fee, and `upstream` is the
    vendor's price. Without one, `cost` is the total, and `upstream`, if present, repeats it. If
    `is_byok` is missing, a cost of 0 with an upstream price is taken as BYOK.
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
    return _told(refusals.broken_off(refusals.said(_status_of(error), error)), error)


def _understood(status: int, error: Mapping[str, Any], sent: Sent) -> LLMError:
    return refusals.understood(refusals.said(status, error), sent)


def _status_of(error: Mapping[str, Any]) -> int:
    """Return the HTTP status that an error object names or implies; 0 = unknown."""
    for value in (error.get("code"), error.get("http_status")):
        status = (
            int(value) if isinstance(value, str) and re.fullmatch("[1-5][0-9]{2}", value) else value
        )
        if isinstance(status, int) and 100 <= status < 600:
            return status
    return _STATUS_OF_ERROR_TYPE.get(_error_type(error), 0)


# --- an error object ------------------------------------------------------------------------------


def _told(failure: LLMError, error: Mapping[str, Any]) -> LLMError:
    """Return the error with OpenRouter's advice on retries and fallback models added."""
    availability = replies.mapping(error.get("availability"))
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


def _error_type(error: Mapping[str, Any]) -> str:
    metadata = replies.mapping(error.get("metadata"))
    availability = replies.mapping(error.get("availability"))
    told = (metadata.get("error_type"), error.get("error_type"), availability.get("code"))
    return next((replies.text(value) for value in told if replies.text(value)), "")
