"""Estimate the cost of a call if the vendor does not report it: tokens times list price.

The price list is part of the package `genai-prices` and is as old as the pinned release. Nothing is
fetched: the package does so only on request. The cost of a model that is not in the list stays
unknown. Importing the package takes 0.1 s; the list itself (0.1 s, 4 MB) is loaded by the first
estimate.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import genai_prices

from agents.llm import replies
from agents.llm.completion import Completion, CostSource, Usage


async def estimated(completion: Completion, *, vendor: str) -> Completion:
    """Return the completion with its estimated cost, or unchanged if it cannot be estimated.

    `vendor` is the vendor's name in genai-prices.
    """
    usage = completion.usage
    if not completion.served_model or usage.input_tokens is None or usage.output_tokens is None:
        return completion
    # In a thread, because the first estimate loads the price list.
    cost_usd = await asyncio.to_thread(_cost_usd, completion.served_model, usage, vendor)
    if cost_usd is None:
        return completion
    return replace(completion, cost_usd=cost_usd, cost_source=CostSource.ESTIMATED)


def _cost_usd(served_model: str, usage: Usage, vendor: str) -> Decimal | None:
    try:
        price = genai_prices.calc_price(
            genai_prices.Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=usage.cached_input_tokens or 0,
                cache_write_tokens=usage.cache_write_input_tokens or 0,
            ),
            model_ref=served_model,
            provider_id=vendor,
        )
    except (LookupError, ValueError):  # unknown model, or more cached tokens than input tokens
        return None
    return replies.dollars(price.total_price)
