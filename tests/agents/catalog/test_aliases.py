"""The tripwire with the catalogue: aliases clear the innocent, and never talk a mismatch away."""

from __future__ import annotations

from django.test import TestCase

from agents.catalog import is_served
from agents.models import CatalogModel
from tests.agents.catalog.listing import NOW, entry, take_in


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
            entry("openai/gpt-4o"),
            entry("openai/gpt-4o-mini"),
            entry("kimi/k2"),
            entry("kimi/k2:free", canonical_slug="kimi/k2"),
            entry("kimi/k2-0905"),
            entry("acme/route", architecture={"tokenizer": "Router"}),
            alias("~acme/any", "acme/route"),
        )

    def test_pairs_of_requested_and_served(self):
        table: list[tuple[str, str, bool | None]] = [
            # by name alone, where neither is listed
            ("no/such", "no/such-20260101", True),
            ("no/such:free", "no/such", True),
            ("no/such-20260101", "no/such", True),
            ("no/such", "no/other", False),
            ("no/such", "", None),
            # two entries are two models, with or without variants
            ("kimi/k2", "kimi/k2-0905", False),
            ("kimi/k2-0905", "kimi/k2", False),
            ("kimi/k2:nitro", "kimi/k2-0905", False),
            ("Kimi/K2", "kimi/k2-0905:free", False),
            ("openai/gpt-4o", "openai/gpt-4o-mini", False),
            # variants of one entry are one model
            ("kimi/k2:free", "kimi/k2", True),
            ("kimi/k2", "kimi/k2:free", True),
            ("kimi/k2:online", "kimi/k2", True),
            # a date that the listed one of the two does not have is another release
            ("kimi/k2", "kimi/k2-20260101", False),
            ("kimi/k2-20260101", "kimi/k2", False),
            ("acme/atlas-2-20260101:nitro", "acme/large", True),
            ("acme/large-20260101", "acme/large", False),
            ("acme/large", "acme/unlisted", False),
            # routers and presets choose themselves
            ("acme/route", "acme/large", None),
            ("acme/route:nitro", "no/such", None),
            ("~acme/any", "acme/large", None),
            ("acme/large", "acme/route", False),
            ("openrouter/auto", "acme/large", False),
            ("@preset/sales", "acme/large", None),
            ("acme/large@preset/sales", "acme/atlas-2-20260101", True),
            ("acme/large@preset/sales", "acme/small", False),
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

    def test_an_answer_under_the_name_that_was_asked_for_asks_the_catalogue_nothing(self):
        with self.assertNumQueries(0):
            assert is_served("acme/large", "acme/large") is True
            assert is_served("acme/thief", " Acme/Thief ") is True
            assert is_served("@preset/sales", "acme/large") is None
            assert is_served("acme/large", "") is None

    def test_an_answer_under_another_name_asks_for_each_name_once(self):
        with self.assertNumQueries(2):
            assert is_served("acme/large", "acme/atlas-2-20260101") is True
        with self.assertNumQueries(4):  # an alias of an alias
            assert is_served("~acme/latest", "acme/large") is True

    def test_a_model_that_has_vanished_is_a_model_still(self):
        CatalogModel.objects.filter(pk="kimi/k2-0905").update(vanished_at=NOW)

        assert is_served("kimi/k2", "kimi/k2-0905") is False

    def test_without_a_catalogue_names_alone_decide(self):
        CatalogModel.objects.all().delete()

        assert is_served("acme/large", "acme/atlas-2") is False
        assert is_served("kimi/k2", "kimi/k2-0905") is True
        assert is_served("~acme/latest", "acme/large") is None
