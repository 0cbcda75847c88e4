from __future__ import annotations

from django.test import SimpleTestCase

from agents.llm.model_match import is_same_model


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
            # OpenAI
            ("gpt-4.1", "gpt-4.1-2025-04-14", True),
            ("gpt-4.1-2025-04-14", "gpt-4.1-2025-04-14", True),
            ("gpt-5-mini", "gpt-5-mini-2025-08-07", True),
            ("o4-mini", "o4-mini-2025-04-16", True),
            ("gpt-4", "gpt-4-0613", True),
            ("gpt-3.5-turbo", "gpt-3.5-turbo-0125", True),
            ("gpt-4-1106-preview", "gpt-4-1106-preview", True),
            ("chatgpt-4o-latest", "chatgpt-4o-latest", True),
            ("ft:gpt-4.1-2025-04-14:acme::a1", "ft:gpt-4.1-2025-04-14:acme::a1", True),
            ("gpt-4.1", "gpt-4.1-mini-2025-04-14", False),
            ("gpt-4.1", "gpt-4.1-nano", False),
            ("gpt-5", "gpt-5-chat-latest", False),
            ("gpt-5", "gpt-5.1-2025-11-13", False),
            ("o4-mini", "o3-mini-2025-01-31", False),
            ("gpt-4-0613", "gpt-4-0314", False),
            ("gpt-4", "gpt-4-turbo-2024-04-09", False),
            ("gpt-4.1", "gpt-3.5-turbo-0125", False),
            ("ft:gpt-4.1-2025-04-14:acme::a1", "ft:gpt-4.1-2025-04-14:acme::b2", False),
            # Anthropic
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5-20250929", True),
            ("claude-haiku-4-5", "claude-haiku-4-5-20251001", True),
            ("claude-opus-4-1", "claude-opus-4-1-20250805", True),
            ("claude-3-5-haiku-latest", "claude-3-5-haiku-20241022", True),
            ("claude-3-7-sonnet-latest", "claude-3-7-sonnet-20250219", True),
            ("claude-sonnet-4-0", "claude-sonnet-4-20250514", True),
            ("claude-opus-4-0", "claude-opus-4-20250514", True),
            ("claude-sonnet-4-0", "claude-sonnet-4-5-20250929", False),
            ("claude-sonnet-4-5", "claude-sonnet-4-20250514", False),
            ("claude-sonnet-4-5", "claude-haiku-4-5-20251001", False),
            ("claude-sonnet-4-5", "claude-3-haiku-20240307", False),
            ("claude-3-5-haiku-latest", "claude-3-haiku-20240307", False),
            ("claude-3-5-haiku-latest", "claude-3-5-sonnet-20241022", False),
            # OpenRouter
            ("anthropic/claude-sonnet-4.5:nitro", "anthropic/claude-sonnet-4.5", True),
            ("openai/gpt-4.1:floor", "openai/gpt-4.1-2025-04-14", True),
            ("deepseek/deepseek-chat-v3.1:free", "deepseek/deepseek-chat-v3.1:free", True),
            ("mistralai/mistral-large", "mistralai/mistral-large-2411", True),
            ("deepseek/deepseek-r1:free", "deepseek/deepseek-r1-0528", True),
            ("deepseek/deepseek-r1:free", "deepseek/deepseek-r1-distill-llama-70b", False),
            ("meta-llama/llama-3.3-70b-instruct", "meta-llama/llama-3.1-70b-instruct", False),
            ("~openai/gpt-latest", "openai/gpt-5.2", None),
            ("openai/gpt-4o", "", None),
            ("openai/gpt-4o", "  ", None),
            ("~openai/gpt-latest", "~openai/gpt-latest", True),
            ("@preset/sales", "openai/gpt-4o", None),
            ("openai/gpt-4o@preset/sales", "openai/gpt-4o-2024-08-06", True),
            ("openai/gpt-4o@preset/sales", "openai/gpt-4o-mini", False),
            # who is a router, the catalogue says
            ("openrouter/auto", "anything/at-all", False),
        ]
        for requested, served, expected in table:
            with self.subTest(f"{requested} → {served}"):
                assert is_same_model(requested, served) is expected

    def test_the_parts_of_a_name_must_match_in_any_order(self):
        canonical = "anthropic/claude-4.5-sonnet-20250929"
        assert is_same_model("anthropic/claude-sonnet-4.5", canonical) is True
        assert is_same_model("anthropic/claude-sonnet-4", canonical) is False
        assert is_same_model("anthropic/claude-haiku-4.5", canonical) is False

    def test_elsewhere_than_at_openrouter_a_colon_is_part_of_the_name(self):
        table = [
            ("llama3.2:1b", "llama3.2:3b", False),
            ("llama3.2:1b", "llama3.2", False),
            ("llama3.2", "llama3.2:latest", True),
            ("llama3.2:1b", "llama3.2:1b", True),
            ("hf.co/a/b-GGUF:Q4_K_M", "hf.co/a/b-GGUF:Q8_0", False),
            ("gpt-4o", "gpt-4o-2024-08-06", True),
            ("smollm2", "/models/smollm2.gguf", False),
        ]
        for requested, served, expected in table:
            with self.subTest(f"{requested} → {served}"):
                assert is_same_model(requested, served, has_variants=False) is expected
