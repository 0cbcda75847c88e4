"""All that goes wrong at OpenRouter only: ask for `sandbox/<name>`."""

from __future__ import annotations

from observatory.sandbox.exchange import Exchange, Reply
from observatory.sandbox.openrouter import written
from tests.misbehaviours.bodies import (
    CHOICES,
    served_by,
    spoiled,
    truncated,
    with_choice,
    with_message,
)
from tests.misbehaviours.kinds import Misbehaviour
from tests.misbehaviours.openrouter_costs import COSTS
from tests.misbehaviours.openrouter_errors import ERRORS
from tests.misbehaviours.openrouter_streams import BREAKS

LATE_GENERATION = "sandbox/late-generation"  # `/generation` knows of it at the second ask
OTHERS = {
    "other-model": served_by("openai/gpt-4o-mini"),
    "dated": served_by("sandbox/dated-20260901"),
}


def _refusal(exchange: Exchange) -> Reply:
    refused = with_message(written(exchange, ""), refusal="I cannot help with this request.")
    return with_choice(refused, finish_reason="content_filter", native_finish_reason="refusal")


MISBEHAVIOURS: dict[str, Misbehaviour] = {
    **ERRORS,
    **BREAKS,
    **spoiled(written, CHOICES | COSTS | OTHERS),
    "truncated": truncated(written),
    "refusal": _refusal,
}
