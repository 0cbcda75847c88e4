"""Reads vendors' responses without trusting their shape; the rules common to all vendors.

The readers return None, "" or an empty mapping for whatever is not what it should be: a response
with a strange `usage` is still an answer. What makes an answer whole is the same for all vendors,
and so is the rule after which a response may be followed by another request.
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
TOKENS_MAX = 5 * 10**8  # sums of three still fit a column of 31 bits
_TEXT_PARTS = ("text", "output_text", None)
COST_MAX_USD = Decimal(10_000)  # for one call; more is a broken response


def error_object(value: object) -> Mapping[str, Any]:
    """Return an error as an object; one of another kind is an error all the same."""
    if isinstance(value, dict):
        return value
    return {"message": str(value)} if value else {}


def error_in(reply: http.Reply) -> Mapping[str, Any]:
    """Return the error object of a reply other than 2xx."""
    return error_object(mapping(reply.body).get("error"))


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

    OpenRouter and LiteLLM name it in an answer's `provider`, OpenRouter in an error's metadata and
    in the header X-Provider-Name as well.
    """
    body = mapping(reply.body)
    errors = (mapping(body.get("error")), mapping(first(body.get("choices")).get("error")))
    of_errors = [mapping(error.get("metadata")).get("provider_name") for error in errors]
    said = [upstreams.name(value) for value in (body.get("provider"), *of_errors)]
    return next(filter(None, said), reply.upstream)


def known_whole(answer: Completion, reply: http.Reply, *, wants_json: bool) -> Completion:
    """Return the answer, known to be whole if it cannot be cut although it has no finish reason.

    JSON that ends where it began is whole: no object is a part of another one's beginning. What
    came as a stream has an end of its own, and is cut without it.
    """
    if answer.finish_reason or not wants_json or reply.is_stream:
        return answer
    if answer.usage.output_tokens is None or not is_json_object(answer.text):
        return answer
    return replace(answer, is_known_whole=True)


def is_json_object(value: str) -> bool:
    """Tell whether a text is one JSON object and nothing else."""
    try:
        return isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


def missing_end(answer: Completion) -> LLMError | None:
    """Return why a text is no whole answer: it is cut, has no proper end, or is empty."""
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
    is_blank = not answer.finish_reason or not (answer.text.strip() or answer.is_cut)
    is_worth_it = problem.retryable or (isinstance(problem, AnswerUnusable) and is_blank)
    problem.retryable = is_worth_it and not problem.maybe_charged
    raise problem


def unbilled(problem: LLMError, reply: http.Reply) -> LLMError:
    """Return the error that is all a 2xx holds: nothing was generated, so nothing is charged."""
    problem.http_status = reply.status
    problem.generation_id = reply.generation_id
    problem.upstream = upstream(reply)
    problem.retryable = problem.retryable or type(problem) is AnswerUnusable
    return problem


def holds_nothing_else(reply: http.Reply, *answers: str) -> bool:
    """Tell whether a 2xx has neither usage nor an answer under one of these names."""
    body = mapping(reply.body)
    return not any(body.get(name) for name in ("usage", *answers))


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
    """Return the text of an answer that comes in parts, without what the model only thought."""
    parts = map(mapping, value) if isinstance(value, list) else ()
    return "".join(text(part.get("text")) for part in parts if part.get("type") in _TEXT_PARTS)


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
