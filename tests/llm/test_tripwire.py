from __future__ import annotations

from django.test import SimpleTestCase

from agents.llm.tripwire import is_same_model

ALIASES = {
    "anthropic/claude-sonnet-4.5": "anthropic/claude-4.5-sonnet-20250929",
    "~anthropic/claude-sonnet-latest": "anthropic/claude-sonnet-4.5",
    "a/one": "a/two",
    "a/two": "a/one",
}


class Tripwire(SimpleTestCase):
    def test_pairs_from_the_vendors_naming_rules(self):
        table = [
            ("openai/gpt-4o", "openai/gpt-4o", True),
            ("openai/gpt-4o", "openai/gpt-4o-2024-08-06", True),
            ("openai/gpt-4o-2024-08-06", "openai/gpt-4o", True),
            ("gpt-4o", "gpt-4o-2024-08-06", True),
            ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929", True),
            ("deepseek/deepseek-r1:free", "deepseek/deepseek-r1", True),
            ("openai/gpt-5:online", "openai/gpt-5-2025-08-07", True),
            ("openai/gpt-5-2025-08-07:nitro", "openai/gpt-5", True),
            ("OpenAI/GPT-4o", "openai/gpt-4o", True),
            (" openai/gpt-4o ", "openai/gpt-4o", True),
            ("anthropic/claude-sonnet-4.5", "anthropic/claude-4.5-sonnet-20250929", True),
            ("anthropic/claude-4.5-sonnet-20250929", "anthropic/claude-sonnet-4.5", True),
            ("anthropic/claude-sonnet-4.5", "anthropic/claude-4.5-sonnet", True),
            ("~anthropic/claude-sonnet-latest", "anthropic/claude-sonnet-4.5", True),
            ("~anthropic/claude-sonnet-latest", "anthropic/claude-4.5-sonnet-20250929", True),
            ("a/one", "a/two-20250101", True),
            ("openai/gpt-4o", "openai/gpt-4o-mini", False),
            ("openai/gpt-4o-mini", "openai/gpt-4o", False),
            ("openai/gpt-4o", "openai/gpt-4o-mini-2024-07-18", False),
            ("anthropic/claude-sonnet-4", "anthropic/claude-sonnet-4.5", False),
            ("anthropic/claude-sonnet-4.5", "anthropic/claude-opus-4.5", False),
            ("openai/gpt-4o", "azure/gpt-4o", False),
            ("openai/gpt-4o", "gpt-4o", False),
            ("openai/gpt-4o-2024-08-06", "openai/gpt-4o-2024-05-13", False),
            ("claude-sonnet-4-20250514", "claude-sonnet-4-20250929", False),
            ("mistralai/mistral-large-2407", "mistralai/mistral-large-2411", False),
            ("a/one", "a/three", False),
            ("openai/gpt-4o", "", None),
            ("openai/gpt-4o", "  ", None),
            ("openrouter/auto", "anything/at-all", None),
            ("@preset/sales", "openai/gpt-4o", None),
        ]
        for requested, served, expected in table:
            with self.subTest(f"{requested} → {served}"):
                assert is_same_model(requested, served, ALIASES) is expected

    def test_without_aliases_names_must_match(self):
        assert is_same_model("anthropic/claude-sonnet-4.5", "anthropic/claude-4.5-sonnet") is False
