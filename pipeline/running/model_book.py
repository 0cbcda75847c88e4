"""Facts about models for the limits of a call, from the catalog and from recorded calls.

A call looks up each model once. Facts are cached for a few minutes. If the database does not
answer, the last known facts are used, or empty ones.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterator

from asgiref.sync import sync_to_async
from django.db import DatabaseError

from agents.catalog import find_all, max_price, refresh
from agents.llm.limits import UNKNOWN_MAXIMUM, ModelFacts
from agents.llm.openrouter import OpenRouterProvider
from agents.models import CatalogModel
from pipeline.models import LLMCall

logger = logging.getLogger(__name__)

KEPT_FOR_S = 300.0
REASONING_CALLS = 500  # the latest calls that are looked at
REASONING_CALLS_LEAST = 50  # with fewer, a 99th percentile means nothing
MAX_MODELS = 2_000

_DATE = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2})\Z")
_VERSION = re.compile(r"-(\d)-(\d)(?=-|\Z)")
_AUTHORS = {"openai": "openai", "claude": "anthropic"}  # of models that are called at their vendors


class ModelBook:
    """Implements `agents.llm.limits.ModelBook`, with a cache; one per process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, ModelFacts]] = {}

    async def facts(self, provider: str, model_id: str) -> ModelFacts:
        """Return the facts about a model, at most a few minutes old if the database answers."""
        looked_at, facts = self._known.get((provider, model_id), (-math.inf, ModelFacts()))
        if self._clock() - looked_at < KEPT_FOR_S:
            return facts
        try:
            facts = await sync_to_async(_facts)(provider, model_id)
        except DatabaseError:
            logger.warning("model=%s: what is known of it cannot be read", model_id, exc_info=True)
        if len(self._known) >= MAX_MODELS:
            self._known.clear()
        self._known[provider, model_id] = self._clock(), facts
        return facts

    async def refreshed(self, provider: str, model_id: str) -> ModelFacts:
        """Return the facts after asking OpenRouter for the model; the stored ones if that fails."""
        if provider == OpenRouterProvider.name:
            try:
                await refresh(model_id)
            except DatabaseError:
                logger.warning("model=%s: its price is not kept", model_id, exc_info=True)
        self._known.pop((provider, model_id), None)
        return await self.facts(provider, model_id)


def _facts(provider: str, model_id: str) -> ModelFacts:
    row = _row(provider, model_id)
    p99 = _reasoning_p99(model_id)
    if row is None:
        return ModelFacts(reasoning_p99_tokens=p99)
    is_routed = provider == OpenRouterProvider.name
    return ModelFacts(
        max_output_tokens=_most_output(row),
        parameters=frozenset(row.supported_parameters),
        max_price=max_price(row) if is_routed else None,
        reasoning_p99_tokens=p99,
    )


def _most_output(row: CatalogModel) -> int | None:
    """Return the maximum of output tokens, leaving half of the context to the prompt."""
    if row.context_tokens is None:
        return row.max_completion_tokens
    return min(row.max_completion_tokens or UNKNOWN_MAXIMUM, row.context_tokens // 2)


def _row(provider: str, model_id: str) -> CatalogModel | None:
    names = list(_names(provider, model_id))
    found = find_all(names)
    return next((found[name] for name in names if name in found), None)


def _names(provider: str, model_id: str) -> Iterator[str]:
    """Yield the ids under which the catalog may list a model, the most exact first."""
    if provider == OpenRouterProvider.name:
        yield model_id
    elif author := _AUTHORS.get(provider):
        plain = _DATE.sub("", model_id)
        yield from (
            f"{author}/{name}" for name in (model_id, plain, _VERSION.sub(r"-\1.\2", plain))
        )


def _reasoning_p99(model_id: str) -> int | None:
    calls = LLMCall.objects.filter(requested_model=model_id, reasoning_tokens__gt=0)
    latest = calls.order_by("-started_at").values_list("reasoning_tokens", flat=True)
    tokens = sorted(count for count in latest[:REASONING_CALLS] if count is not None)
    if len(tokens) < REASONING_CALLS_LEAST:
        return None
    return tokens[math.ceil(0.99 * len(tokens)) - 1]
