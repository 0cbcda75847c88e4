"""What a call may cost at most, computed before it is sent; budgets set this amount aside.

A token of text is at least one byte, the answer ends at the output limit that is sent, and
OpenRouter is sent the prices as `provider.max_price`, so that it chooses no endpoint that charges
more. A model that accepts no output limit is assumed to answer up to its maximum, or up to
`UNKNOWN_MAXIMUM` if that is not known, so that it may cost more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal

from agents.llm.chat_completions import LIMIT_NAMES
from agents.llm.limits import MaxPrice
from agents.llm.prompt import Prompt
from agents.llm.terms import Terms

MESSAGE_TOKENS = 16  # what a chat template adds to a message
# Pictures are at most 2048 pixels wide and high. gpt-4o-mini, which counts the most of the models
# on offer, takes 2,833 tokens and 5,667 for each of at most 8 tiles.
# https://platform.openai.com/docs/guides/images-vision#calculating-costs
PICTURE_TOKENS = 50_000
# For the estimate: English text has about four bytes a token, and an answer rarely needs more than
# a quarter of its limit, which allows for reasoning.
BYTES_A_TOKEN, SHARE_OF_LIMIT = 4, Decimal("0.25")
USUAL_PICTURE_TOKENS = 2_000
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CostBounds:
    """Dollars that a call may cost at most, and what such a call usually costs."""

    most_usd: Decimal = Decimal(0)
    likely_usd: Decimal = Decimal(0)


def cost_bounds(prompt: Prompt, terms: Terms) -> CostBounds:
    """Return the bounds for one request; 0 if no price is known."""
    price = terms.max_price
    if price is None:
        return CostBounds()
    output = terms.max_tokens
    if terms.left_out.issuperset(LIMIT_NAMES):
        output = max(output, terms.facts.ceiling)
    texts = [text for text in (prompt.system, prompt.user) if text]
    text_bytes = sum(len(text.encode("utf-8", "replace")) for text in texts)
    if prompt.schema is not None:
        text_bytes += len(json.dumps(prompt.schema))
    template = MESSAGE_TOKENS * len(texts)
    picture, usual_picture = (PICTURE_TOKENS, USUAL_PICTURE_TOKENS) if prompt.image_b64 else (0, 0)
    return CostBounds(
        most_usd=_cost(price, text_bytes + template + picture, Decimal(output)),
        likely_usd=_cost(
            price,
            text_bytes // BYTES_A_TOKEN + template + usual_picture,
            output * SHARE_OF_LIMIT,
        ),
    )


def _cost(price: MaxPrice, input_tokens: int, output_tokens: Decimal) -> Decimal:
    tokens = price.prompt * input_tokens + price.completion * output_tokens
    return tokens / _MILLION + (price.request or 0)
