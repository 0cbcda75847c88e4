"""What a call costs where the vendor does not say: its tokens times the vendor's price list.

The list came with the package `genai-prices` and is as old as its pinned release. Nothing is
fetched: that package only does so when it is told to. A model that the list does not have has no
known cost. Importing the package takes 0.1 s; the list itself (0.1 s, 4 MB) is read with the first
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
    """Return the completion with its estimated cost; as it is if there is nothing to go by.

    `vendor` is genai-prices' name for the one who served it.
    """
    usage = completion.usage
    if not completion.served_model or usage.input_tokens is None or usage.output_tokens is None:
        return completion
    # In a thread, because the first one reads the list.
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
    except (LookupError, ValueError):  # an unknown model, or more cached tokens than tokens
        return None
    return replies.dollars(price.total_price)
