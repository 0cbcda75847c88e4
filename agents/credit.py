"""Ask OpenRouter for the remaining credit of the shared key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.utils import timezone

from agents.llm import http, replies
from agents.llm.errors import LLMError
from agents.llm.keys import ApiKey
from agents.llm.openrouter import OpenRouterProvider

WITHIN_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """The amount that the shared key may still spend, or why it is not known."""

    remaining_usd: Decimal | None  # None: the key has no limit, or there is a problem
    problem: str  # why the amount is not known, or ""
    asked_at: datetime


async def ask(key: ApiKey) -> Credit:
    """Return the key's remaining credit as reported by OpenRouter, within 10 s; never raises."""
    base_url = OpenRouterProvider.configured_url()
    request = http.Request(base_url=base_url, path="/key", method="GET")
    try:
        reply = await http.send(request, api_key=key, deadline_s=WITHIN_S)
    except LLMError as error:
        return _unknown(f"OpenRouter isn't responding ({type(error).__name__})")
    if reply.status == 401:
        return _unknown("OpenRouter rejects the key")
    facts = replies.mapping(replies.mapping(reply.body).get("data"))
    if reply.status != 200 or "limit_remaining" not in facts:
        return _unknown(f"OpenRouter answered {reply.status}")
    return _read(facts["limit_remaining"])


def _read(remaining: Any) -> Credit:
    if remaining is None:
        return Credit(remaining_usd=None, problem="", asked_at=timezone.now())
    try:
        amount = Decimal(str(remaining))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        return _unknown("OpenRouter didn't report the remaining credit")
    return Credit(remaining_usd=amount, problem="", asked_at=timezone.now())


def _unknown(problem: str) -> Credit:
    return Credit(remaining_usd=None, problem=problem, asked_at=timezone.now())
