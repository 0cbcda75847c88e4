"""Each agent's good answer, cut at every byte and said to be: it is never taken, on any wire.

A few hundred cuts a run; with OBSERVATORY_PROVE=1 all of them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.test import SimpleTestCase

from agents.base import AgentInput, BaseAgent
from agents.llm.base import StepScope
from agents.llm.completion import CostSource
from agents.llm.errors import AnswerCut
from agents.llm.limits import ModelFacts
from agents.registry import default_registry
from tests.llm.calling import Recorder
from tests.llm.loopback import PATIENCE_S, Canned, loopback
from tests.llm.test_limits import Book, limit_in
from tests.llm.vendors import CLAUDE, OPENROUTER, VENDORS, Vendor
from tests.proving import amount, closing_line
from tests.team.examples import ANSWERS
from tests.team.scripted import BareContext

CUTS = amount(6, proving=10**9)  # of each answer on each wire, spread evenly
REASONS = {
    "claude": ("max_tokens",),
    "openrouter": ("length", "model_length"),
    "openai": ("length",),
}


def good_answer(agent: BaseAgent) -> str:
    answer = agent.answer_model.model_validate(ANSWERS[agent.name])
    return json.dumps(answer.model_dump(mode="json"), ensure_ascii=False)


def cuts_of(text: str) -> list[str]:
    """Return the beginnings of a text that end at each byte, or at so many of them."""
    raw = text.encode()
    step = max(1, len(raw) // CUTS)
    return [raw[:end].decode(errors="ignore") for end in range(0, len(raw), step)] + [text]


def cut_reply(vendor: Vendor, text: str, reason: str) -> Canned:
    if vendor is CLAUDE:
        return vendor.ok(text, stop_reason=reason)
    body = vendor.answer(text)
    body["choices"][0] |= {"finish_reason": reason}
    return Canned(body=body)


class CutAnswers(SimpleTestCase):
    async def test_none_is_ever_taken_and_each_is_counted(self):
        tried = 0
        for vendor in VENDORS:
            async with loopback(vendor.ok()) as server:
                for agent in default_registry():
                    for number, text in enumerate(cuts_of(good_answer(agent))):
                        reason = REASONS[vendor.name][number % len(REASONS[vendor.name])]
                        with self.subTest(vendor.name, agent=agent.name, text=text[-40:]):
                            server.received.clear()
                            server.replies = [cut_reply(vendor, text, reason)]
                            await self.assert_not_taken(vendor, agent, server)
                            tried += 1
        closing_line(f"cut answers: {tried} cuts on {len(VENDORS)} wires, none taken")

    async def assert_not_taken(self, vendor: Vendor, agent: BaseAgent, server: Any) -> None:
        recorder = Recorder()
        llm = vendor.provider(server.base_url)
        scope = StepScope(
            agent=agent.name,
            observer=recorder,
            deadline_s=PATIENCE_S,
            least_output_tokens=agent.needs.least_output_tokens,
            most_output_tokens=agent.needs.most_output_tokens,
            book=Book(ModelFacts(max_output_tokens=64_000)),
        )
        with pytest.raises(AnswerCut) as caught:
            await agent.run(
                AgentInput(passages={"message": "Hi"}),
                BareContext(step_llm=replace(llm, scope=scope)),
            )

        first, second = server.chats
        assert limit_in(second.body) > limit_in(first.body)
        assert len(recorder.started) == len(recorder.ended) == 2
        costs = [one.learnt.cost_usd for one in recorder.outcomes if one.learnt]
        assert len(costs) == 2
        if vendor is OPENROUTER:
            assert sum(cost or 0 for cost in costs) == 2 * Decimal("0.00333825")
        assert caught.value.learnt is not None
        assert caught.value.learnt.cost_source is not CostSource.UNKNOWN
