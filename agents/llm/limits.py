"""Output token limits: the limit to request, and limits named in vendors' refusals.

Every request has an output limit. It is the visible text that the agent's answer may need plus an
allowance for the model's reasoning, capped at the model's maximum. Facts about models come from a
`ModelBook`; an unknown fact never counts against a model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

UNKNOWN_MAXIMUM = 16_384  # for a model whose maximum is not known
REASONING_ALLOWANCE = {"low": 4_096, "medium": 16_384, "high": 32_768}  # tokens, by effort
USUAL_EFFORT = "medium"  # the vendors' default
LESS_EFFORT = "low"
_REASONING = frozenset({"reasoning", "include_reasoning", "reasoning_effort"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPrice:
    """The maximum price that a provider of the model may charge, in dollars."""

    prompt: Decimal  # for a million tokens
    completion: Decimal  # for a million tokens
    request: Decimal | None = None  # for each request

    def is_above(self, other: MaxPrice) -> bool:
        """Return whether any of the prices is higher than in `other`."""
        return (
            self.prompt > other.prompt
            or self.completion > other.completion
            or (self.request or Decimal(0)) > (other.request or Decimal(0))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The facts known about a model before it is asked."""

    max_output_tokens: int | None = None
    parameters: frozenset[str] = frozenset()  # accepted by the model; empty = not known
    max_price: MaxPrice | None = None  # None = not known
    reasoning_p99_tokens: int | None = None  # 99th percentile of our calls; None = too few calls

    @property
    def can_reason(self) -> bool | None:
        """Whether the model may reason before it answers; None = not known."""
        return bool(self.parameters & _REASONING) if self.parameters else None

    @property
    def ceiling(self) -> int:
        """The largest output limit that may be requested, in tokens."""
        return self.max_output_tokens or UNKNOWN_MAXIMUM


class ModelBook(Protocol):
    """A source of facts about models; usually answers immediately, and never raises."""

    async def facts(self, provider: str, model_id: str) -> ModelFacts:
        """Return the known facts about a model."""
        ...

    async def refreshed(self, provider: str, model_id: str) -> ModelFacts:
        """Return the facts about a model from the vendor's current list."""
        ...


class EmptyBook:
    """A `ModelBook` without any facts, for calls that belong to no step."""

    async def facts(self, provider: str, model_id: str) -> ModelFacts:
        return ModelFacts()

    async def refreshed(self, provider: str, model_id: str) -> ModelFacts:
        return ModelFacts()


def output_limit(facts: ModelFacts, *, visible_tokens: int, reasons_unasked: bool) -> int:
    """Return the output limit to request: visible tokens plus an allowance for reasoning.

    `reasons_unasked` tells whether this vendor's models may reason without being asked to.
    """
    allowance = 0
    if facts.reasoning_p99_tokens is not None:
        allowance = facts.reasoning_p99_tokens
    elif reasons_unasked and facts.can_reason is not False:
        allowance = REASONING_ALLOWANCE[USUAL_EFFORT]
    return min(visible_tokens + allowance, facts.ceiling)


@dataclass(frozen=True, slots=True)
class SaidLimit:
    """An output token limit that a vendor named in a refusal."""

    tokens: int
    is_fixed: bool  # the model's own limit; False: what context, rate or credit leave this request


_AFFORDABLE = re.compile(r"can only afford (\d{1,9})\b")
_FIXED = (
    # "max_tokens: 8192 > 4096, which is the maximum allowed number of output tokens"
    re.compile(r"max_(?:\w+_)?tokens\W{0,4}\d+ > (\d{1,9})\b"),
    # "This model supports at most 4096 completion tokens"
    re.compile(r"supports? (?:at most|up to|a maximum of) (\d{1,9}) (?:\w+ )?tokens"),
    # "expected a value <= 12288", "must be less than or equal to `8192`"
    re.compile(r"tokens?\b.{0,160}?(?:<=|less than or equal to|at most|up to)\W{0,3}(\d{1,9})\b"),
    # "the valid range of max_tokens is [1, 8192]", "must be between 1 and 8192"
    re.compile(r"max_\w*tokens\b.{0,80}?(?:\[\s*\d+\s*, ?|between \d+ and |from \d+ to )(\d{1,9})"),
    # "supported range is from 1 (inclusive) to 8193 (exclusive)"
    re.compile(r"range is from \d+ \(inclusive\) to (\d{1,9}) \(exclusive\)"),
)
_CONTEXT = re.compile(r"(?:context (?:length|window|size)|maximum length)\D{0,40}(\d{1,9})\b")
_INPUT = (
    re.compile(r"\((\d{1,9}) (?:in the messages|in your prompt|of text input|in the prompt)"),
    re.compile(r"(?:request has|prompt contains at least|messages resulted in) (\d{1,9})\b"),
)
_RATE = re.compile(r"limit (\d{1,9})\W+requested (\d{1,9})\b")


def said_limit(words: str, *, asked: int) -> SaidLimit | None:
    """Return the limit named in a vendor's error text if it is below `asked`; otherwise None."""
    text = words.casefold().replace("`", "")
    if found := _AFFORDABLE.search(text):
        return _below(int(found[1]), asked, is_fixed=False)
    if (context := _CONTEXT.search(text)) and (given := _first_of(_INPUT, text)) is not None:
        return _below(int(context[1]) - given, asked, is_fixed=False)
    if found := _RATE.search(text):
        return _below(asked - (int(found[2]) - int(found[1])), asked, is_fixed=False)
    named = _first_of(_FIXED, text)
    if named is not None and "(exclusive)" in text:
        named -= 1
    return None if named is None else _below(named, asked, is_fixed=True)


def _first_of(patterns: tuple[re.Pattern[str], ...], text: str) -> int | None:
    return next((int(found[1]) for one in patterns if (found := one.search(text))), None)


def _below(tokens: int, asked: int, *, is_fixed: bool) -> SaidLimit | None:
    return SaidLimit(tokens, is_fixed) if 0 <= tokens < asked else None
