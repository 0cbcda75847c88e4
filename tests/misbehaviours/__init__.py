"""Models that go wrong on purpose: ask for one to see how a client bears it.

OpenRouter offers them as `sandbox/<name>`, Anthropic and OpenAI as `sandbox-<name>`. A table for
each place where things go wrong: `texts.py` and `wire.py` for every vendor, the others for the
vendors that they are named after. To add one: write a function and give it a line in its table.
What only takes its time, and then answers well, has a line in `DELAYS_S`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import fields

from observatory.sandbox.catalogue import Model
from observatory.sandbox.exchange import Exchange, Reply, WireFormat
from observatory.sandbox.extension import AddedModel
from tests.misbehaviours import anthropic, openai, openrouter
from tests.misbehaviours.kinds import CountedExchange, Misbehaviour
from tests.misbehaviours.refusals import REFUSALS
from tests.misbehaviours.texts import TEXTS
from tests.misbehaviours.wire import WIRE

DELAYS_S = {"slow": 5.0, "hang": math.inf}
LATENCY = re.compile(r"latency-(\d{1,6})")
FAIL_THEN_OK = re.compile(r"fail-then-ok-(\d{1,3})")
OF_VENDOR = {"openrouter": openrouter.MISBEHAVIOURS, "anthropic": anthropic.MISBEHAVIOURS}


def misbehaving_model(
    vendor: WireFormat, model_id: str, attempts: Counter[str]
) -> AddedModel | None:
    """Return the misbehaving model of that id, or None if it is none of the vendor's."""
    author = "sandbox/" if vendor.name == "openrouter" else "sandbox-"
    if not model_id.startswith(author):
        return None
    name = model_id.removeprefix(author)
    act = _misbehaviour(vendor, name)
    if act is None:
        return None

    def counted(exchange: Exchange) -> Reply:
        asked = json.dumps([exchange.key, model_id, exchange.messages], sort_keys=True)
        attempts[asked] += 1
        facts = {field.name: getattr(exchange, field.name) for field in fields(exchange)}
        return act(CountedExchange(**facts, attempt=attempts[asked]))

    return AddedModel(model=_model(model_id), answer=counted, delay_s=_delay_s(name))


def _misbehaviour(vendor: WireFormat, name: str) -> Misbehaviour | None:
    own = OF_VENDOR.get(vendor.name, openai.MISBEHAVIOURS)
    if name in own:
        return own[name]
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


def _delay_s(name: str) -> float:
    latency = LATENCY.fullmatch(name)
    return int(latency[1]) / 1000 if latency else DELAYS_S.get(name, 0.0)


def _model(model_id: str) -> Model:
    """Return a model that is able to do everything, at one price."""
    return Model(
        id=model_id,
        name=model_id,
        prompt="0.000001",
        completion="0.000002",
        context_length=200_000,
        provider="Sandbox",
    )


def _sound(vendor: WireFormat, exchange: Exchange) -> Reply:
    return vendor.written(exchange, exchange.answer())


def _failing_first(vendor: WireFormat, tries: int) -> Misbehaviour:
    def fail_or_answer(exchange: CountedExchange) -> Reply:
        if exchange.attempt <= tries:
            return vendor.failure(500, "Internal Server Error")
        return _sound(vendor, exchange)

    return fail_or_answer
