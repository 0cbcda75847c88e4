"""The tripwire with the catalogue: aliases clear the innocent, and never talk a mismatch away."""

from __future__ import annotations

from django.test import TestCase

from agents.catalog import is_served
from agents.catalog.aliases import aliases_of
from agents.models import CatalogModel
from tests.agents.catalog.listing import entry, take_in


class AliasTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        def alias(model_id: str, target: str):
            return entry(model_id, alias_target={"slug": target})

        take_in(
            entry("acme/large", canonical_slug="acme/atlas-2-20260101"),
            entry("acme/small", canonical_slug="acme/atlas-2-mini"),
            entry("acme/thief", canonical_slug="acme/small"),  # that is another one's id
            entry("acme/large:free", canonical_slug="acme/large"),
            alias("acme/flagship", "acme/large"),
            alias("~acme/latest", "acme/flagship"),
            alias("~acme/lost", "acme/gone"),
            alias("~acme/round", "acme/ring"),
            alias("acme/ring", "~acme/round"),
            entry("openai/gpt-4o", canonical_slug="openai/gpt-4o"),
            entry("openai/gpt-4o-mini", canonical_slug="openai/gpt-4o-mini"),
        )

    def test_pairs_of_requested_and_served(self):
        table: list[tuple[str, str, bool | None]] = [
            # by name alone
            ("openai/gpt-4o", "openai/gpt-4o-2024-08-06", True),
            ("openai/gpt-4o", "openai/gpt-4o-mini", False),
            ("no/such", "no/other", False),
            ("no/such", "", None),
            ("openrouter/auto", "acme/large", None),
            # by the full name
            ("acme/large", "acme/atlas-2-20260101", True),
            ("acme/large", "acme/atlas-2", True),
            ("acme/large:nitro", "acme/atlas-2", True),
            ("Acme/Large", "acme/atlas-2", True),
            ("acme/large", "acme/atlas-2-20260202", False),
            ("acme/large", "acme/atlas-2-mini", False),
            ("acme/large", "acme/small", False),
            # by an alias
            ("acme/flagship", "acme/large", True),
            ("acme/flagship", "acme/atlas-2-20260101", True),
            ("acme/flagship:nitro", "acme/large", True),
            ("acme/flagship", "acme/small", False),
            # by the newest of a family
            ("~acme/latest", "acme/flagship", True),
            ("~acme/latest", "acme/large", True),
            ("~acme/latest", "acme/atlas-2", True),
            ("~acme/latest", "acme/small", False),
            ("~acme/latest", "acme/newer-than-the-list", None),
            ("~acme/unlisted", "acme/large", None),
            ("~acme/lost", "acme/gone", True),
            ("~acme/lost", "acme/large", False),
            ("~acme/round", "acme/large", False),
            # never the other way round, and never through what is another model's id
            ("acme/large", "acme/flagship", False),
            ("acme/large", "~acme/latest", False),
            ("acme/atlas-2-mini", "acme/thief", False),
            ("acme/thief", "acme/small", False),
            ("acme/small", "acme/thief", False),
        ]
        for requested, served, expected in table:
            with self.subTest(f"{requested} → {served}"):
                assert is_served(requested, served) is expected

    def test_a_sound_answer_asks_the_catalogue_nothing(self):
        with self.assertNumQueries(0):
            is_served("acme/large", "acme/large-20260101")
            is_served("openrouter/auto", "acme/large")
            is_served("acme/large", "")

    def test_steps_go_in_one_direction_and_end(self):
        assert aliases_of("~acme/latest") == {
            "~acme/latest": "acme/flagship",
            "acme/flagship": "acme/large",
            "acme/large": "acme/atlas-2-20260101",
        }
        assert len(aliases_of("~acme/round")) == 2

    def test_without_a_catalogue_names_alone_decide(self):
        CatalogModel.objects.all().delete()

        assert is_served("acme/large", "acme/atlas-2") is False
        assert is_served("~acme/latest", "acme/large") is None
