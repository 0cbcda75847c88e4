"""Convert a vendor's refusal into one of our errors, with the same rules for all vendors.

A refusal may be an object or a list, may contain the upstream vendor's own JSON as a string, or may
be a web page from a proxy in between. Codes, words and parameter names are extracted from it, and
the table in `agents.llm.signs` maps these to a cause.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agents.llm import errors, http, limits, replies
from agents.llm.causes import Cause
from agents.llm.errors import LLMError
from agents.llm.retries import retry_after_s
from agents.llm.signs import OF_STATUS, SIGNS, Sent

MAX_WORDS_CHARS = 4_000  # the part that is searched; longer texts echo the request
MAX_DEPTH = 8
# Most specific first.
_CODES = ("error_type", "code", "reason", "type", "status", "provider_code", "limit_source")
_WORDS = ("message", "msg", "detail", "raw", "error", "description", "explanation")
_PARAMETERS = ("param", "loc", "field", "constraint")
_INSIDE = (
    *("error", "errors", "metadata", "availability", "constraint", "innererror", "details"),
    *("detail", "message", "raw", "fieldViolations", "provider_error", "cause"),
)

ERRORS: Mapping[Cause, type[LLMError]] = {
    Cause.OUTAGE: errors.ProviderUnavailable,
    Cause.RATE: errors.RateLimited,
    Cause.TIME: errors.DeadlineExceeded,
    Cause.KEY: errors.KeyRejected,
    Cause.ACCOUNT: errors.NoCredit,
    Cause.BUDGET: errors.BudgetSpent,
    Cause.CREDIT: errors.CreditTooLow,
    Cause.REGION: errors.RegionForbidden,
    Cause.POLICY: errors.RequestForbidden,
    Cause.UNKNOWN_MODEL: errors.ModelUnavailable,
    Cause.PRICE: errors.PriceRefused,
    Cause.SCHEMA: errors.SchemaUnsupported,
    Cause.ROLE: errors.RoleUnsupported,
    Cause.PARAMETER: errors.ParameterUnsupported,
    Cause.LIMIT: errors.LimitRefused,
    Cause.PICTURE: errors.PictureUnsupported,
    Cause.THIS_PICTURE: errors.PictureInvalid,
    Cause.LENGTH: errors.RequestTooLong,
    Cause.REQUEST: errors.RequestInvalid,
    Cause.REFUSED: errors.ProviderRejected,
    Cause.UNUSABLE: errors.AnswerUnusable,
}


# Causes that can also interrupt an answer that has begun.
_OF_THE_PROVIDER = frozenset(
    {
        *(Cause.OUTAGE, Cause.RATE, Cause.KEY, Cause.ACCOUNT, Cause.BUDGET),
        *(Cause.POLICY, Cause.REGION, Cause.UNKNOWN_MODEL),
    }
)


@dataclass(frozen=True, slots=True)
class Said:
    """The facts extracted from a refusal: HTTP status (0 = unknown), codes, words, parameters."""

    status: int
    codes: frozenset[str]
    words: str
    parameters: str
    told_type: str = ""  # the most specific code

    @property
    def text(self) -> str:
        """The parts of the refusal that may name a parameter."""
        return f"{self.words} {self.parameters}"


def said(status: int, body: object) -> Said:
    """Extract the facts from the body of a refusal, whatever its shape."""
    codes: list[tuple[int, str]] = []
    words: list[str] = []
    parameters: list[str] = []
    for name, value in _facts(body, 0):
        if name in _PARAMETERS:
            parameters.append(value)
        elif name in _CODES:
            codes.append((_CODES.index(name), value.casefold()))
        else:
            words.append(value)
    return Said(
        status,
        frozenset(code for _, code in codes),
        ": ".join(dict.fromkeys(words))[:MAX_WORDS_CHARS],
        " ".join(parameters)[:MAX_WORDS_CHARS],
        replies.cleaned(min(codes, default=(0, ""))[1])[:100],
    )


def refused(reply: http.Reply, sent: Sent) -> LLMError:
    """Return the error for a reply other than 2xx, including facts from its headers."""
    failure = understood(said(reply.status, reply.body), sent)
    if reply.is_page and reply.status == 403:
        # Vendors answer 403 in JSON. A web page comes from a network in front of the vendor.
        failure = errors.ProviderUnavailable(
            "something in front of the provider answered with a web page (HTTP 403)"
        )
    elif 300 <= reply.status < 400 and not replies.error_in(reply):  # redirects rarely have bodies
        failure = errors.ProviderRejected("it redirects, which is not followed: check the base URL")
    failure.http_status = reply.status
    if (wait_s := retry_after_s(reply.headers)) is not None:
        failure.retry_after_s = wait_s
        if reply.status == 402 and type(failure) is errors.NoCredit:
            # Other requests in progress have reserved the credit, so it may soon be free again.
            failure.retryable = True
    failure.generation_id = reply.generation_id
    failure.upstream = replies.upstream(reply)
    return failure


def understood(what: Said, sent: Sent) -> LLMError:
    """Return the error for a refusal, with its message scrubbed of keys and shortened."""
    cause = cause_of(what, sent)
    failure = ERRORS[cause](
        replies.cleaned(what.words) or f"HTTP {what.status or 'status not named'}",
        http_status=what.status or None,
        error_type=what.told_type,
    )
    limit = limits.said_limit(what.text, asked=sent.max_tokens)
    if isinstance(failure, errors.CreditTooLow):
        failure.most_tokens = None if limit is None else limit.tokens
    if isinstance(failure, errors.LimitRefused):
        failure.most_tokens = None if limit is None else limit.tokens
        failure.is_fixed = limit is None or limit.is_fixed
    if isinstance(failure, errors.ParameterUnsupported):
        failure.parameter = sent.parameter_in(what.text)
    return failure


def broken_off(what: Said) -> LLMError:
    """Return the error for an answer that was interrupted after it had begun.

    The vendor had accepted the request, so it may be charged.
    """
    failure = understood(what, Sent())
    if failure.cause in _OF_THE_PROVIDER:
        return failure
    return errors.AnswerUnusable(str(failure), error_type=failure.error_type)


def cause_of(what: Said, sent: Sent) -> Cause:
    """Return the cause from the first matching sign, or else the one of the HTTP status."""
    cause = next(
        (sign.cause for sign in SIGNS if sign.fits(what.status, what.codes, what.text, sent)), None
    )
    if cause is Cause.LENGTH and _leaves_room(what, sent):
        return Cause.LIMIT  # the message fits into the context, but not together with the answer
    if cause is None:
        cause = OF_STATUS.get(what.status)
    if cause is None:
        cause = Cause.OUTAGE if what.status >= 500 else Cause.REFUSED
        cause = Cause.UNUSABLE if what.status < 300 else cause
    return cause


def _leaves_room(what: Said, sent: Sent) -> bool:
    limit = limits.said_limit(what.text, asked=sent.max_tokens)
    return limit is not None and not limit.is_fixed and limit.tokens > 0


def _facts(value: object, depth: int) -> Iterator[tuple[str, str]]:
    """Yield the relevant members of an error object as (name, text), down to `MAX_DEPTH` levels."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, list):
        for item in value:
            yield from _facts(item, depth + 1)
        return
    for name, part in replies.mapping(value).items():
        if isinstance(part, str):
            yield from _texts(name, part, depth)
        elif name in ("loc", "param") and isinstance(part, list):
            yield "loc", ".".join(str(step) for step in part if isinstance(step, str | int))
        elif name in _INSIDE:
            yield from _facts(part, depth + 1)


def _texts(name: str, text: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield a text, and the facts in JSON embedded in it, such as an upstream vendor's error."""
    if name in _CODES:
        if not text.isdigit():
            yield name, replies.storable(text)[:200]
    elif name in _PARAMETERS:
        yield name, replies.storable(text)
    elif name in _WORDS:
        start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)
        facts = list(_facts(_json_at(start, text), depth + 1))
        words = text[: start if facts else MAX_WORDS_CHARS]
        if words := " ".join(replies.storable(words).split()):
            yield name, words
        yield from facts


def _json_at(start: int, text: str) -> Any:
    """Return the JSON value that begins at `start`, or None."""
    if start < 0 or len(text) > 20 * MAX_WORDS_CHARS:
        return None
    try:
        return json.JSONDecoder().raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None
