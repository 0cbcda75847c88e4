"""What must come of each misbehaviour of the sandbox: the table of `test_misbehaviours`.

A row says how a call to such a model ends (None = with an answer), after how many requests, with
which HTTP status, whether the last of them may be charged, and whether we know what was billed for
it.
"""

from __future__ import annotations

from dataclasses import dataclass

from agents.llm.errors import (
    AnswerCut,
    AnswerUnusable,
    BudgetSpent,
    DeadlineExceeded,
    KeyRejected,
    LLMError,
    ModelUnavailable,
    NoCredit,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
    RequestForbidden,
    RequestInvalid,
    RequestTooLong,
)

SHORT_S = 3.0  # for what never ends
LONG_S = 30.0  # for what takes its time


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One misbehaviour and its end."""

    name: str
    error: type[LLMError] | None = None
    requests: int = 1
    status: int | None = 200
    is_billed: bool = True  # the vendor charged for the last request, or may have
    is_cost_told: bool = True  # by OpenRouter, at once or when asked for it
    deadline_s: float = LONG_S


def answered(*names: str, requests: int = 1) -> list[Row]:
    return [Row(name=name, requests=requests) for name in names]


def unusable(*names: str, error: type[LLMError] = AnswerUnusable) -> list[Row]:
    return [Row(name=name, error=error) for name in names]


def refused(status: int, error: type[LLMError], *names: str, requests: int = 1) -> list[Row]:
    return [
        Row(name=name, error=error, requests=requests, status=status, is_billed=False)
        for name in names
    ]


def failing(status: int, *names: str, error: type[LLMError] = ProviderUnavailable) -> list[Row]:
    """Return rows of what is tried again, and fails each of the four times."""
    return refused(status, error, *names, requests=4)


def free_of_charge(error: type[LLMError], *names: str) -> list[Row]:
    """Return rows of 200s that hold an error and say that they cost nothing."""
    return [Row(name=name, error=error, requests=4, is_billed=False) for name in names]


def endless(*names: str) -> list[Row]:
    return [
        Row(
            name=name,
            error=DeadlineExceeded,
            status=None,
            is_cost_told=False,
            deadline_s=SHORT_S,
        )
        for name in names
    ]


EVERYWHERE = [
    *answered("padded", "slow", "slow-first-byte", "latency-300"),
    *answered("bad-json", "bad-json-once", "broken-json", "fenced-json", "obedient"),
    *answered("think-first", "in-a-list", "under-a-name", "gzip", "no-schema"),
    *answered("no-system-role", "few-tokens", requests=2),
    *answered("fail-then-ok-2", requests=3),
    *failing(500, "fail-then-ok-9"),
    *unusable("empty-content", "huge", "gzip-bomb"),
    Row(name="not-json", error=AnswerUnusable, is_cost_told=False),
    Row(name="reset", error=ProviderUnavailable, status=None),
    *failing(502, "not-json-502"),
    *failing(403, "page-403"),  # of a network in front of the vendor
    *refused(307, ProviderRejected, "redirect"),
    *endless("hang", "drip", "endless"),
]
OPENROUTER = [
    *EVERYWHERE,
    *answered("content-parts", "two-choices", "other-model", "dated"),
    *answered("byok", "cost-equals-upstream", "no-cost", "no-usage", "odd-usage"),
    *answered("odd-cost-negative", "odd-cost-text", "odd-cost-nan", "duplicate-usage"),
    *answered("late-generation", "unasked-stream", "with-thoughts"),
    *answered("flaky-429", requests=2),
    *unusable("null-choices", "no-choices", "null-content", "tool-calls"),
    *unusable("stream-error-recorded"),
    *unusable("truncated", "no-finish", "stream-cut", error=AnswerCut),
    *unusable("refusal", error=RequestForbidden),
    *unusable("as-thought"),  # an answer to nobody who asked for JSON
    *free_of_charge(AnswerUnusable, "blank-free"),
    *free_of_charge(ProviderUnavailable, "error-in-200", "error-body-200", "only-error-200"),
    *free_of_charge(RateLimited, "stream-error-documented"),
    *refused(400, ModelUnavailable, "unknown-model"),
    *refused(401, KeyRejected, "echo-key"),
    *refused(402, NoCredit, "no-credit"),
    *refused(403, RequestForbidden, "forbidden"),
    *refused(403, BudgetSpent, "budget"),
    *refused(404, ModelUnavailable, "retired", "retired-by-type"),
    *refused(413, RequestTooLong, "error-413"),
    *refused(422, RequestInvalid, "error-422"),
    *refused(429, RateLimited, "error-429-huge"),  # nobody waits for a year
    *failing(429, "error-429", "error-429-bare", "error-429-garbage", error=RateLimited),
    *failing(429, "error-429-date", error=RateLimited),
    *failing(408, "error-408"),
    *failing(500, "error-500"),
    *failing(502, "error-502"),
    *failing(503, "unavailable-503"),
    *failing(504, "error-504"),
    *failing(524, "error-524"),
    *failing(529, "error-529"),
]
CLAUDE = [
    *EVERYWHERE,
    *answered("content-parts", "other-model", "no-usage"),
    *answered("flaky-overloaded", requests=2),
    *unusable("pause-turn", "tool-calls", "null-content"),
    *unusable("no-finish", "context-exceeded", error=AnswerCut),
    Row(name="truncated", error=AnswerCut, requests=2),  # again with a larger limit
    *unusable("refusal", error=RequestForbidden),
    *free_of_charge(ProviderUnavailable, "error-in-200"),
    *refused(400, NoCredit, "low-balance"),
    *refused(401, KeyRejected, "echo-key"),
    *refused(402, NoCredit, "no-credit"),
    *refused(403, RequestForbidden, "forbidden"),
    *refused(404, ModelUnavailable, "unknown-model"),
    *refused(413, RequestTooLong, "error-413"),
    *failing(429, "error-429", "error-429-bare", error=RateLimited),
    *failing(500, "error-500"),
    *failing(504, "error-504"),
    *failing(529, "overloaded"),
]
OPENAI = [
    *EVERYWHERE,
    *answered("content-parts", "two-choices", "other-model", "no-usage", "with-thoughts"),
    *unusable("as-thought"),
    *failing(409, "conflict"),
    *answered("flaky-429", requests=2),
    *unusable("null-choices", "no-choices", "null-content", "tool-calls"),
    *unusable("truncated", "no-finish", error=AnswerCut),
    *unusable("refusal", "filtered", error=RequestForbidden),
    *free_of_charge(ProviderUnavailable, "error-in-200"),
    *refused(401, KeyRejected, "echo-key"),
    *refused(403, ModelUnavailable, "forbidden"),
    *refused(404, ModelUnavailable, "unknown-model"),
    *refused(429, NoCredit, "no-credit"),
    *failing(429, "error-429", "error-429-bare", error=RateLimited),
    *failing(500, "error-500"),
    *failing(503, "overloaded"),
]
TABLES = {"openrouter": OPENROUTER, "claude": CLAUDE, "openai": OPENAI}
