from __future__ import annotations

import pytest
from django.test import SimpleTestCase, override_settings

from agents.llm.base import Payer
from agents.llm.keys import PlainKey, fingerprint
from agents.llm.openrouter import OpenRouterProvider
from agents.llm.router import (
    ProviderNotConfigured,
    create_provider,
    default_model,
    provider_names,
    provider_of_key,
)
from agents.llm.vendor import VendorProvider
from tests.canaries import CLAUDE_KEY, MEMBER_KEY, OPENAI_KEY

KEY = "sk-or-v1-router-test-key"


class CreatingProviders(SimpleTestCase):
    def test_a_provider_is_bound_to_all_it_was_given(self):
        llm = create_provider(
            "openrouter", f" {KEY}\n", " a/b ", payer=Payer.SHARED, fallback_model="c/d"
        )

        assert isinstance(llm, OpenRouterProvider)
        assert (llm.name, llm.model_id, llm.fallback_model) == ("openrouter", "a/b", "c/d")
        assert llm.payer is Payer.SHARED
        assert llm.api_key.fingerprint == fingerprint(KEY)

    def test_a_key_that_is_one_already_is_kept(self):
        key = PlainKey(KEY)

        assert create_provider("openrouter", key, "a/b").api_key is key
        assert create_provider("openrouter", key, "a/b").payer is Payer.MEMBER

    def test_what_can_never_work_is_refused(self):
        table = [
            ("gemini", KEY, "a/b", "'gemini'.*openrouter"),
            ("", KEY, "a/b", "openrouter"),
            ("openrouter", "", "a/b", "no API key"),
            ("openrouter", " \n", "a/b", "no API key"),
            ("openrouter", KEY, "", "no model"),
            ("openrouter", KEY, "  ", "no model"),
        ]
        for name, key, model, message in table:
            with self.subTest(message), pytest.raises(ProviderNotConfigured, match=message):
                create_provider(name, key, model)

    def test_equal_providers_are_equal_and_show_no_key(self):
        one, other = (create_provider("openrouter", KEY, "a/b") for _ in range(2))

        assert (one.model_id, one.api_key) == (other.model_id, other.api_key)
        assert KEY not in repr(one)

    def test_a_key_tells_by_its_shape_whose_it_is(self):
        table = [
            (MEMBER_KEY, "openrouter"),
            (CLAUDE_KEY, "claude"),
            (OPENAI_KEY, "openai"),
            ("sk-0123456789abcdef0123456789abcdef", "openai"),
            ("sk-or-v1-short", None),
            (f"{CLAUDE_KEY} and more", None),
            ("what is a key?", None),
            ("", None),
        ]
        for key, provider in table:
            with self.subTest(provider=provider):
                assert provider_of_key(key) == provider

    def test_every_provider_says_its_own_name_and_has_a_default_model(self):
        for name in provider_names():
            assert create_provider(name, KEY, "a/b").name == name
            assert default_model(name)

    @override_settings(
        OPENROUTER_BASE_URL="http://127.0.0.1:9/a/",
        ANTHROPIC_BASE_URL="http://127.0.0.1:9/b/",
        OPENAI_BASE_URL="http://127.0.0.1:9/c",
    )
    def test_every_address_is_the_operators_setting(self):
        providers = [create_provider(name, KEY, "a/b") for name in provider_names()]

        assert [llm.base_url for llm in providers if isinstance(llm, VendorProvider)] == [
            "http://127.0.0.1:9/a",
            "http://127.0.0.1:9/b",
            "http://127.0.0.1:9/c",
        ]
