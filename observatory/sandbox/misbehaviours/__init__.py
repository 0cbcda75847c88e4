"""Models that go wrong on purpose: ask for one to see how a client bears it.

OpenRouter offers them as `sandbox/<name>`, Anthropic and OpenAI as `sandbox-<name>`. A table for
each place where things go wrong: `texts.py` and `wire.py` for every vendor, the others for the
vendors that they are named after. To add one: write a function and give it a line in its table.
What only takes its time, and then answers well, has a line in `DELAYS_S`.
"""

from __future__ import annotations

import math
import re

from observatory.sandbox.exchange import Exchange, Misbehaviour, Reply
from observatory.sandbox.misbehaviours.refusals import REFUSALS
from observatory.sandbox.misbehaviours.texts import TEXTS
from observatory.sandbox.misbehaviours.wire import WIRE
from observatory.sandbox.vendor import Vendor

DELAYS_S = {"slow": 5.0, "hang": math.inf}
LATENCY = re.compile(r"latency-(\d{1,6})")
FAIL_THEN_OK = re.compile(r"fail-then-ok-(\d{1,3})")


def misbehaviour(vendor: Vendor, model_id: str) -> Misbehaviour | None:
    """Return how `model_id` answers, or None if it is none of the vendor's misbehaving models."""
    if not model_id.startswith(vendor.author):
        return None
    name = model_id.removeprefix(vendor.author)
    if name in vendor.misbehaviours:
        return vendor.misbehaviours[name]
    if name in TEXTS:
        return lambda exchange: vendor.written(exchange, TEXTS[name](exchange))
    if name in REFUSALS:
        return lambda exchange: REFUSALS[name](vendor, exchange)
    if name in WIRE:
        return lambda exchange: WIRE[name](_sound(vendor, exchange))
    if tries := FAIL_THEN_OK.fullmatch(name):
        return _failing_first(vendor, int(tries[1]))
    if name in DELAYS_S or LATENCY.fullmatch(name):
        return lambda exchange: _sound(vendor, exchange)
    return None


def delay_s(vendor: Vendor, model_id: str) -> float:
    """Return how many seconds `model_id` takes before it answers."""
    if not model_id.startswith(vendor.author):
        return 0.0
    name = model_id.removeprefix(vendor.author)
    latency = LATENCY.fullmatch(name)
    return int(latency[1]) / 1000 if latency else DELAYS_S.get(name, 0.0)


def _sound(vendor: Vendor, exchange: Exchange) -> Reply:
    return vendor.written(exchange, exchange.answer())


def _failing_first(vendor: Vendor, tries: int) -> Misbehaviour:
    def fail_or_answer(exchange: Exchange) -> Reply:
        if exchange.attempt <= tries:
            return vendor.failure(500, "Internal Server Error")
        return _sound(vendor, exchange)

    return fail_or_answer
