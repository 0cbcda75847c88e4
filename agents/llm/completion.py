"""One answer of a model, with what it used and cost, and how an answer says that it was cut."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self


class CostSource(StrEnum):
    """How sure we are of a cost."""

    REPORTED = "reported"  # by the provider, for this very call
    ESTIMATED = "estimated"  # tokens times a price list
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call, as the provider counted them; None = not said."""

    input_tokens: int | None = None  # all of them, cached or not
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    reasoning_tokens: int | None = None


# Finish reasons of an answer that reached its limit of output tokens; vendors have many names.
AT_OUTPUT_LIMIT = frozenset(
    {"length", "max_tokens", "model_length", "max_output_tokens", "max_new_tokens"}
)
# Of one that filled the model's context, which no larger limit makes any larger.
AT_CONTEXT_LIMIT = frozenset({"model_context_window_exceeded", "context_length_exceeded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer: it is usable if it has content and is not cut."""

    text: str
    served_model: str  # "" = the response did not say
    usage: Usage
    cost_usd: Decimal | None
    cost_source: CostSource
    finish_reason: str
    latency_ms: int
    generation_id: str = ""
    upstream: str = ""  # who ran the model for a gateway such as OpenRouter, if that was said
    is_known_whole: bool = False  # without a finish reason, by its content
    is_fallback: bool = False  # by the fallback model

    @property
    def is_cut(self) -> bool:
        """Whether the answer breaks off before its end, or may: it has no terminal signal."""
        reason = self.finish_reason.casefold()
        return reason in AT_OUTPUT_LIMIT | AT_CONTEXT_LIMIT or not (reason or self.is_known_whole)

    @classmethod
    def lost(cls, generation_id: str) -> Self:
        """Return what is known of an answer that never came: its name."""
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
            ValueError: it is no JSON; `agents.llm.answers` also repairs.
        """
        return json.loads(self.text)
