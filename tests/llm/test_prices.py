from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

from django.test import SimpleTestCase

from agents.llm import prices
from agents.llm.completion import Completion, CostSource, Usage

STAYS_UNREAD = """
import sys
import django; django.setup()
from agents.llm.router import create_provider
create_provider("claude", "sk-ant-x", "claude-sonnet-4-5")
sys.exit("genai_prices.data" in sys.modules)
"""


def served(model: str, usage: Usage) -> Completion:
    return Completion(
        text="Hello.",
        served_model=model,
        usage=usage,
        cost_usd=None,
        cost_source=CostSource.UNKNOWN,
        finish_reason="stop",
        latency_ms=1,
    )


class Estimating(SimpleTestCase):
    async def test_listed_models(self):
        table = [
            ("anthropic", "claude-sonnet-4-5-20250929", "0.0045"),
            ("anthropic", "claude-haiku-4-5", "0.0015"),
            ("openai", "gpt-4.1-2025-04-14", "0.0028"),
            ("openai", "gpt-5-mini", "0.00045"),
        ]
        for vendor, model, expected in table:
            with self.subTest(model):
                usage = Usage(input_tokens=1000, output_tokens=100)
                estimate = await prices.estimated(served(model, usage), vendor=vendor)

                assert estimate.cost_usd == Decimal(expected)
                assert estimate.cost_source is CostSource.ESTIMATED

    async def test_what_cannot_be_estimated_stays_unknown(self):
        whole = Usage(input_tokens=1000, output_tokens=100)
        table = {
            "unknown model": served("gpt-of-tomorrow", whole),
            "another vendor's model": served("claude-sonnet-4-5", whole),
            "no model": served("", whole),
            "no input": served("gpt-4.1", Usage(output_tokens=1)),
            "no output": served("gpt-4.1", Usage(input_tokens=1)),
            "more cached than there is": served(
                "gpt-4.1", Usage(input_tokens=1, output_tokens=1, cached_input_tokens=2)
            ),
            "absurd": served("gpt-4.1", Usage(input_tokens=10**9, output_tokens=10**10)),
        }
        for name, completion in table.items():
            with self.subTest(name):
                assert await prices.estimated(completion, vendor="openai") is completion

    def test_the_list_is_read_by_those_who_need_it(self):
        child = subprocess.run([sys.executable, "-c", STAYS_UNREAD], check=False)

        assert child.returncode == 0
