"""Read vendors' responses without trusting their shape; the rules shared by all vendors.

The readers return None, "" or an empty mapping for a value of an unexpected type, because a
response with a malformed `usage` is still an answer. The shared rules decide whether an answer is
complete and whether a failed response may be retried.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from agents.llm import http, upstreams
from agents.llm.completion import AT_OUTPUT_LIMIT, Completion, CostSource, Usage
from agents.llm.errors import AnswerCut, AnswerUnusable, LLMError
from agents.llm.secrets import scrub

MESSAGE_MAX_CHARS = 500
TOKENS_MAX = 5 * 10**8  # the sum of three still fits a 31-bit column
_TEXT_PARTS = ("text", "output_text", None)
COST_MAX_USD = Decimal(10_000)  # for one call; more is a broken response


def error_object(value: object) -> Mapping[str, Any]:
    """Return the error as a mapping; any other truthy value becomes its `message`."""
    if isinstance(value, dict):
        return value
    return {"message": str(value)} if value else {}


def error_in(reply: http.Reply) -> Mapping[str, Any]:
    """Return the error object of a reply other than 2xx."""
    return error_object(mapping(reply.body).get("error"))


def seen(reply: http.Reply, *, text_said: str, usage: Usage, finish_reason: object) -> Completion:
    """Return everything in a 2xx except its cost, even if it is no usable answer."""
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
    """Return the provider that answered or refused behind a gateway; "" if not reported.

    OpenRouter and LiteLLM name it in an answer's `provider`. OpenRouter also names it in an error's
    metadata and in the header X-Provider-Name.
    """
    body = mapping(reply.body)
    errors = (mapping(body.get("error")), mapping(first(body.get("choices")).get("error")))
    of_errors = [mapping(error.get("metadata")).get("provider_name") for error in errors]
    said = [upstreams.name(value) for value in (body.get("provider"), *of_errors)]
    return next(filter(None, said), reply.upstream)


def known_whole(answer: Completion, reply: http.Reply, *, wants_json: bool) -> Completion:
    """Return the answer, with `is_known_whole` set if its content proves that it is complete.

    This concerns answers without a finish reason: a text that parses as a JSON object is complete,
    because a truncated object does not parse. It must also have a count of output tokens. A
    streamed answer has an end marker and counts as cut off without it.
    """
    if answer.finish_reason or not wants_json or reply.is_stream:
        return answer
    if answer.usage.output_tokens is None or not is_json_object(answer.text):
        return answer
    return replace(answer, is_known_whole=True)


def is_json_object(value: str) -> bool:
    """Return whether the text is exactly one JSON object."""
    try:
        return isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


def missing_end(answer: Completion) -> LLMError | None:
    """Return an error if the answer is cut off, ended in an error or is empty; otherwise None."""
    if answer.finish_reason == "error":
        return AnswerUnusable("the answer ended in an error")
    if answer.is_cut and (answer.finish_reason or answer.text.strip()):
        cut = AnswerCut(f"the answer is cut: its end is {answer.finish_reason[:50] or 'missing'!r}")
        cut.may_be_longer = answer.finish_reason.casefold() in AT_OUTPUT_LIMIT
        return cut
    if not answer.text.strip():
        return AnswerUnusable(f"the answer is empty, its end is {answer.finish_reason[:50]!r}")
    return None


def usable(answer: Completion, problem: LLMError | None, status: int) -> Completion:
    """Return the answer of a 2xx, or raise its problem.

    Raises:
        LLMError: the problem, if there is one, with the answer as its `.learnt`.
    """
    if problem is None:
        return answer
    problem.http_status = status
    problem.generation_id = answer.generation_id
    problem.learnt = answer
    # The request was processed, so it may be charged, unless the response reports a cost of 0.
    problem.maybe_charged = answer.cost_usd != 0
    is_blank = not answer.finish_reason or not (answer.text.strip() or answer.is_cut)
    is_worth_it = problem.retryable or (isinstance(problem, AnswerUnusable) and is_blank)
    problem.retryable = is_worth_it and not problem.maybe_charged
    raise problem


def unbilled(problem: LLMError, reply: http.Reply) -> LLMError:
    """Return the error of a 2xx that holds only an error: nothing was generated or charged."""
    problem.http_status = reply.status
    problem.generation_id = reply.generation_id
    problem.upstream = upstream(reply)
    problem.retryable = problem.retryable or type(problem) is AnswerUnusable
    return problem


def holds_nothing_else(reply: http.Reply, *answers: str) -> bool:
    """Return whether a 2xx has neither usage nor an answer in one of the named members."""
    body = mapping(reply.body)
    return not any(body.get(name) for name in ("usage", *answers))


def cleaned(message: str) -> str:
    """Return a vendor's text for use in an error message: without keys, on one line, shortened."""
    return " ".join(storable(scrub(message)).split())[:MESSAGE_MAX_CHARS]


def storable(text: str) -> str:
    """Return the text with lone surrogates (invalid in UTF-8) and NUL (in PostgreSQL) replaced."""
    return (
        text.encode("utf-16-le", "surrogatepass")
        .decode("utf-16-le", "replace")
        .replace("\0", "\N{REPLACEMENT CHARACTER}")
    )


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def first(value: object) -> Mapping[str, Any]:
    """Return the first item of a list if it is a mapping; otherwise an empty mapping."""
    return mapping(value[0]) if isinstance(value, list) and value else {}


def joined_parts(value: object) -> str:
    """Return the joined text of an answer's content parts, without reasoning parts."""
    parts = map(mapping, value) if isinstance(value, list) else ()
    return "".join(text(part.get("text")) for part in parts if part.get("type") in _TEXT_PARTS)


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def count(value: object) -> int | None:
    """Return a number of tokens, or None if the value is not a plausible one."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= TOKENS_MAX else None


def number(value: object) -> Decimal | None:
    """Return a JSON number as Decimal, or None for any other value. Parsed numbers are finite."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return Decimal(value)


def dollars(value: object) -> Decimal | None:
    """Return an amount in dollars, or None if it is not a plausible cost of one call."""
    amount = number(value)
    return amount if amount is not None and 0 <= amount <= COST_MAX_USD else None
