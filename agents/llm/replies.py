"""Reading what a vendor sent without trusting its shape, and what it means whoever sent it.

The readers return None, "" or an empty mapping for whatever is not what it should be: a response
with a strange `usage` is still an answer. The table of HTTP statuses is the same for all vendors,
and so is the rule after which a response may be followed by another request.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from agents.llm import http, upstreams
from agents.llm.base import Completion, CostSource, Usage
from agents.llm.errors import (
    AnswerUnusable,
    KeyRejected,
    LLMError,
    ModelUnavailable,
    NoCredit,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
    RequestForbidden,
    RequestInvalid,
)
from agents.llm.retries import retry_after_s
from agents.llm.secrets import scrub

MESSAGE_MAX_CHARS = 500
TOKENS_MAX = 5 * 10**8  # sums of three still fit a column of 31 bits
COST_MAX_USD = Decimal(10_000)  # for one call; more is a broken response

_ERROR_OF_STATUS: dict[int, type[LLMError]] = {
    400: RequestInvalid,
    401: KeyRejected,
    402: NoCredit,
    403: RequestForbidden,
    404: ModelUnavailable,
    408: ProviderUnavailable,
    413: RequestInvalid,
    422: RequestInvalid,
    429: RateLimited,
}


def error_for_status(
    status: int, message: str, *, error_type: str = "", kind: type[LLMError] | None = None
) -> LLMError:
    """Return the error that an HTTP status means, its message scrubbed and cut.

    `kind` is for those who know better than the table.
    """
    kind = kind or _ERROR_OF_STATUS.get(status)
    if kind is None:
        kind = ProviderUnavailable if status >= 500 else ProviderRejected
    return kind(cleaned(message), http_status=status, error_type=error_type)


def error_object(value: object) -> Mapping[str, Any]:
    """Return an error as an object; one of another kind is an error all the same."""
    if isinstance(value, dict):
        return value
    return {"message": str(value)} if value else {}


def error_in(reply: http.Reply) -> Mapping[str, Any]:
    """Return the error object of a reply other than 2xx; a redirect seldom has one."""
    error = error_object(mapping(reply.body).get("error"))
    if not error and 300 <= reply.status < 400:
        return {"message": "it redirects, which is not followed: check the base URL"}
    return error


def refused(reply: http.Reply, failure: LLMError) -> LLMError:
    """Return the error of a reply other than 2xx with what the headers add to it."""
    if (wait_s := retry_after_s(reply.headers)) is not None:
        failure.retry_after_s = wait_s
    failure.generation_id = reply.generation_id
    failure.upstream = upstream(reply)
    return failure


def seen(reply: http.Reply, *, text_said: str, usage: Usage, finish_reason: object) -> Completion:
    """Return all that a 2xx says but its cost, whether or not that makes an answer."""
    body = mapping(reply.body)
    return Completion(
        text=storable(text_said),
        served_model=storable(text(body.get("model"))),
        usage=usage,
        cost_usd=None,
        cost_source=CostSource.UNKNOWN,
        finish_reason=storable(text(finish_reason)),
        latency_ms=reply.latency_ms,
        generation_id=reply.generation_id or storable(text(body.get("id"))),
        upstream=upstream(reply),
    )


def upstream(reply: http.Reply) -> str:
    """Return who ran the model, or refused to, behind a gateway; "" if the reply does not say.

    OpenRouter and LiteLLM name it in an answer's `provider`, OpenRouter in an error's metadata and in
    the header X-Provider-Name as well.
    """
    body = mapping(reply.body)
    errors = (mapping(body.get("error")), mapping(first(body.get("choices")).get("error")))
    of_errors = [mapping(error.get("metadata")).get("provider_name") for error in errors]
    said = [upstreams.name(value) for value in (body.get("provider"), *of_errors)]
    return next(filter(None, said), reply.upstream)


def missing_end(answer: Completion) -> LLMError | None:
    """Return why a text is no answer: it has no proper end, or is empty."""
    if answer.finish_reason in ("", "error"):
        return AnswerUnusable(f"the answer has no proper end, but {answer.finish_reason!r}")
    if not answer.text.strip():
        return AnswerUnusable(f"the answer is empty, its end is {answer.finish_reason[:50]!r}")
    return None


def usable(answer: Completion, problem: LLMError | None, status: int) -> Completion:
    """Return the answer that a 2xx holds.

    Raises:
        LLMError: the problem, if there is one, with all that was learnt.
    """
    if problem is None:
        return answer
    problem.http_status = status
    problem.generation_id = answer.generation_id
    problem.learnt = answer
    # It was answered, so it may be charged, unless the response itself says that it cost nothing.
    problem.maybe_charged = answer.cost_usd != 0
    problem.retryable = problem.retryable and not problem.maybe_charged
    raise problem


def cleaned(message: str) -> str:
    """Return a vendor's text as it may stand in an error: without keys, on one line, cut."""
    return " ".join(storable(scrub(message)).split())[:MESSAGE_MAX_CHARS]


def storable(text: str) -> str:
    """Return the text without what UTF-8 or PostgreSQL cannot hold: half surrogates and NUL."""
    return (
        text.encode("utf-16-le", "surrogatepass")
        .decode("utf-16-le", "replace")
        .replace("\0", "\N{REPLACEMENT CHARACTER}")
    )


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def first(value: object) -> Mapping[str, Any]:
    """Return the first mapping of a list."""
    return mapping(value[0]) if isinstance(value, list) and value else {}


def joined_parts(value: object) -> str:
    """Return the text of an answer that comes in parts."""
    parts = map(mapping, value) if isinstance(value, list) else ()
    return "".join(text(part.get("text")) for part in parts)


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def count(value: object) -> int | None:
    """Return a number of tokens."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= TOKENS_MAX else None


def number(value: object) -> Decimal | None:
    """Return a JSON number, finite as all of them are here."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return Decimal(value)


def dollars(value: object) -> Decimal | None:
    """Return an amount that one call can cost."""
    amount = number(value)
    return amount if amount is not None and 0 <= amount <= COST_MAX_USD else None
