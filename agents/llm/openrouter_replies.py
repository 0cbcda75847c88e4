"""What OpenRouter's replies mean: an answer with its cost, or one of our errors.

What is not obvious here comes from OpenRouter's specification and from recorded traffic: an error
may hide in a 200, a cost of 0 may be a price paid elsewhere, and support for structured output is
a matter of the endpoint that serves a model, not of the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from agents.llm import http, replies
from agents.llm.base import Completion, CostSource, Usage
from agents.llm.errors import (
    AnswerUnusable,
    LLMError,
    ModelUnavailable,
    NoCredit,
    RequestForbidden,
    RequestInvalid,
    SchemaUnsupported,
)
from agents.llm.retries import capped_wait_s, retry_after_s

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
    body = replies.mapping(reply.body)
    choice = replies.first(body.get("choices"))
    seen = _seen(reply, body, choice)
    problem = _problem(reply, body, choice, seen)
    if problem is None:
        return seen
    problem.http_status = reply.status
    problem.maybe_charged = True
    problem.generation_id = seen.generation_id
    problem.learnt = seen
    raise problem


def refusal(reply: http.Reply, *, has_schema: bool) -> LLMError:
    """Return the error that a reply other than 2xx means."""
    error = _error_object(replies.mapping(reply.body).get("error"))
    if not error and 300 <= reply.status < 400:
        error = {"message": "it redirects, which is not followed: check the base URL"}
    failure = _failure(reply.status, error, has_schema=has_schema)
    if (wait_s := retry_after_s(reply.headers)) is not None:
        failure.retry_after_s = wait_s
    return failure


def cost_of_generation(reply: http.Reply) -> Decimal | None:
    """Return what `GET /generation` says that a call cost; None if it does not, or not yet."""
    generation = replies.mapping(replies.mapping(reply.body).get("data"))
    return _total(
        generation.get("total_cost"),
        generation.get("upstream_inference_cost"),
        generation.get("is_byok"),
    )


# --- a 200 ----------------------------------------------------------------------------------------


def _seen(reply: http.Reply, body: Mapping[str, Any], choice: Mapping[str, Any]) -> Completion:
    """Return all that the response says, whether or not that makes an answer."""
    usage = replies.mapping(body.get("usage"))
    cost_usd = _total(
        usage.get("cost"),
        replies.mapping(usage.get("cost_details")).get("upstream_inference_cost"),
        usage.get("is_byok"),
    )
    return Completion(
        text=replies.storable(_content(choice)),
        served_model=replies.storable(replies.text(body.get("model"))),
        usage=Usage(
            input_tokens=replies.count(usage.get("prompt_tokens")),
            output_tokens=replies.count(usage.get("completion_tokens")),
            cached_input_tokens=replies.count(
                replies.mapping(usage.get("prompt_tokens_details")).get("cached_tokens")
            ),
            reasoning_tokens=replies.count(
                replies.mapping(usage.get("completion_tokens_details")).get("reasoning_tokens")
            ),
        ),
        cost_usd=cost_usd,
        cost_source=CostSource.UNKNOWN if cost_usd is None else CostSource.REPORTED,
        finish_reason=replies.storable(replies.text(choice.get("finish_reason"))),
        latency_ms=reply.latency_ms,
        generation_id=replies.storable(
            replies.text(body.get("id")) or reply.headers.get("x-generation-id", "")
        ),
    )


def _content(choice: Mapping[str, Any]) -> str:
    content = replies.mapping(choice.get("message")).get("content")
    if isinstance(content, list):  # parts, as some vendors send them
        return "".join(replies.text(replies.mapping(part).get("text")) for part in content)
    return replies.text(content)


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


def _problem(
    reply: http.Reply, body: Mapping[str, Any], choice: Mapping[str, Any], seen: Completion
) -> LLMError | None:
    """Return why this 200 is no answer, or None if it is one."""
    if reply.flaw:
        return AnswerUnusable(f"the response cannot be read: {reply.flaw}")
    if error := _error_object(body.get("error") or choice.get("error")):
        return _failure_inside_200(error)
    if not choice:
        return AnswerUnusable("the response has no choices")
    refused = replies.text(replies.mapping(choice.get("message")).get("refusal"))
    if seen.finish_reason == "content_filter" or (refused and not seen.text):
        return RequestForbidden(replies.cleaned(f"the model refused: {refused or 'filtered'}"))
    return _problem_of_answer(seen)


def _problem_of_answer(seen: Completion) -> LLMError | None:
    if seen.finish_reason in ("", "error"):
        return AnswerUnusable(f"the answer has no proper end, but {seen.finish_reason!r}")
    if not seen.text.strip():
        return AnswerUnusable(f"the answer is empty, its end is {seen.finish_reason[:50]!r}")
    return None


def _failure_inside_200(error: Mapping[str, Any]) -> LLMError:
    status = _status_of(error)
    failure = _failure(status, error, has_schema=False)
    if status < 400 or isinstance(failure, RequestInvalid):
        # The request was good enough to start: it broke later, and may have been charged.
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


def _error_object(value: object) -> Mapping[str, Any]:
    return {"message": value} if isinstance(value, str) else replies.mapping(value)


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
    availability = _availability(error)
    constraint = replies.text(replies.mapping(availability.get("constraint")).get("field"))
    if has_schema and status in (400, 404) and _SCHEMA.search(f"{message} {constraint}"):
        return SchemaUnsupported
    if status == 400 and (
        replies.text(availability.get("code")) in _MODEL_CODES or _UNKNOWN_MODEL.search(message)
    ):
        return ModelUnavailable
    is_moderated = "reasons" in replies.mapping(error.get("metadata"))
    if status == 403 and not is_moderated and _BUDGET.search(f"{_error_type(error)} {message}"):
        return NoCredit
    return None


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
