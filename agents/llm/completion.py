"""A model's answer with its usage and cost, and the finish reasons that mean it was cut off."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self


class CostSource(StrEnum):
    """Where a cost comes from."""

    REPORTED = "reported"  # by the provider, for this call
    ESTIMATED = "estimated"  # tokens times a price list
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call, as counted by the provider; None = not reported."""

    input_tokens: int | None = None  # including cached ones
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    reasoning_tokens: int | None = None


# Finish reasons of answers that reached the output limit, by the various names vendors use.
AT_OUTPUT_LIMIT = frozenset(
    {"length", "max_tokens", "model_length", "max_output_tokens", "max_new_tokens"}
)
# Finish reasons of answers that filled the model's context, where a larger limit does not help.
AT_CONTEXT_LIMIT = frozenset({"model_context_window_exceeded", "context_length_exceeded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer of a model. It is usable if it has content and is not cut off."""

    text: str
    served_model: str  # "" = not reported
    usage: Usage
    cost_usd: Decimal | None
    cost_source: CostSource
    finish_reason: str
    latency_ms: int
    generation_id: str = ""
    upstream: str = ""  # the provider behind a gateway such as OpenRouter, "" = not reported
    is_known_whole: bool = False  # there is no finish reason, but the content shows completeness
    is_fallback: bool = False  # the fallback model answered

    @property
    def is_cut(self) -> bool:
        """Whether the answer was cut off, or may have been because nothing marks its end."""
        reason = self.finish_reason.casefold()
        return reason in AT_OUTPUT_LIMIT | AT_CONTEXT_LIMIT or not (reason or self.is_known_whole)

    @classmethod
    def lost(cls, generation_id: str) -> Self:
        """Return a placeholder for an answer that never arrived: only its ID is known."""
        return cls(
            text="",
            served_model="",
            usage=Usage(),
            cost_usd=None,
            cost_source=CostSource.UNKNOWN,
            finish_reason="",
            latency_ms=0,
            generation_id=generation_id,
        )

    def json(self) -> Any:
        """Return the text parsed as JSON, exactly as sent.

        Raises:
            ValueError: the text is not JSON; to repair it, use `agents.llm.answers`.
        """
        return json.loads(self.text)
