"""Finding models by id and by words, what they lack for an agent, and what they cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.test import SimpleTestCase, TestCase

from agents.base import Needs
from agents.catalog import (
    estimated_cost_usd,
    find,
    find_all,
    lacks,
    per_million,
    price_lines,
    search,
)
from agents.models import CatalogModel
from tests.agents.catalog.listing import NOW, entry, row, take_in

WORDS_ONLY = Needs(json_schema=False)


class FindTests(TestCase):
    def test_a_variant_without_an_entry_is_its_base_models(self):
        take_in(
            entry("a/one"),
            entry("a/one:free", canonical_slug="a/one"),
            entry("b/two", canonical_slug="b/two-20260101"),
        )
        table = {
            "a/one": "a/one",
            "a/one:free": "a/one:free",
            "a/one:nitro": "a/one",
            "A/One:nitro": "a/one",
            " a/one ": "a/one",
            "b/two-20260101": "b/two",
            "b/two-20260101:nitro": "b/two",
            "a/three": None,
            "": None,
            "one": None,
            "a/one\0": None,
        }

        found = find_all(table)

        assert {name: str(found[name]) if name in found else None for name in table} == table

    def test_a_model_that_has_vanished_is_found_all_the_same(self):
        take_in(entry("a/one"), entry("a/two"))
        take_in(entry("a/two"), now=NOW + timedelta(days=1))

        model = find("a/one")

        assert model is not None
        assert model.vanished_at


class SearchTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        take_in(
            entry("anthropic/claude-sonnet-4", name="Anthropic: Claude Sonnet 4", created=100),
            entry("anthropic/claude-sonnet-4.5", name="Anthropic: Claude Sonnet 4.5", created=200),
            entry("anthropic/claude-haiku-4.5", name="Anthropic: Claude Haiku 4.5", created=300),
            entry("openai/gpt-5", name="OpenAI: GPT-5", created=400),
            entry("openai/gpt-5-mini", name="OpenAI: GPT-5 Mini", created=410),
            entry("other/not-gpt-5", name="100% other_model", created=500),
            entry("z-ai/glm-4.6", name="Z.AI: GLM 4.6", created=...),
        )

    def found(self, query: str, limit: int = 20) -> list[str]:
        return [model.model_id for model in search(query, limit)]

    def test_every_word_must_match_in_any_order_and_spelling(self):
        table = {
            "claude sonnet": ["anthropic/claude-sonnet-4.5", "anthropic/claude-sonnet-4"],
            "sonnet 4.5": ["anthropic/claude-sonnet-4.5"],
            "4.5 ANTHROPIC haiku": ["anthropic/claude-haiku-4.5"],
            "gpt5 mini": ["openai/gpt-5-mini"],
            "zai": ["z-ai/glm-4.6"],
            "sonnet openai": [],
            "%": ["other/not-gpt-5"],
            "_": ["other/not-gpt-5"],
            "сонет": [],
            "\0": [],
        }
        for query, expected in table.items():
            with self.subTest(query):
                assert self.found(query) == expected

    def test_the_model_itself_comes_before_its_relatives_and_those_that_only_contain_it(self):
        assert self.found("gpt-5") == ["openai/gpt-5", "openai/gpt-5-mini", "other/not-gpt-5"]
        assert self.found("openai/gpt-5-mini") == ["openai/gpt-5-mini"]

    def test_without_a_word_the_newest_come_first_up_to_the_limit(self):
        assert self.found("  ", 2) == ["other/not-gpt-5", "openai/gpt-5-mini"]
        assert self.found("")[-1] == "z-ai/glm-4.6"
        assert len(self.found("", -5)) == 1

    def test_a_model_that_has_vanished_is_not_offered(self):
        CatalogModel.objects.filter(pk="openai/gpt-5").update(vanished_at=NOW)

        assert "openai/gpt-5" not in self.found("gpt-5")

    def test_a_search_takes_two_queries(self):
        with self.assertNumQueries(2):
            search("claude")

    def test_an_endless_query_is_cut(self):
        assert self.found("gpt-5" + " " * 300 + "nonsense")[0] == "openai/gpt-5"


class LacksTests(SimpleTestCase):
    def test_each_lack_has_its_words(self):
        schema = ["structured_outputs"]
        table: list[tuple[CatalogModel, Needs, list[str]]] = [
            (CatalogModel(supported_parameters=schema), Needs(), []),
            (CatalogModel(), WORDS_ONLY, []),
            (CatalogModel(), Needs(), ["no structured outputs"]),
            (
                CatalogModel(supported_parameters=schema, endpoints=2, endpoints_with_schema=0),
                Needs(),
                ["no structured outputs"],
            ),
            (
                CatalogModel(supported_parameters=schema, endpoints=2, endpoints_with_schema=1),
                Needs(),
                [],
            ),
            (
                CatalogModel(input_modalities=["text"]),
                Needs(json_schema=False, vision=True),
                ["can't read pictures"],
            ),
            (
                CatalogModel(input_modalities=["text", "image"]),
                Needs(json_schema=False, vision=True),
                [],
            ),
            (
                CatalogModel(context_tokens=8192),
                WORDS_ONLY,
                ["8,192-token context (16,000 needed)"],
            ),
            (CatalogModel(context_tokens=16_000), WORDS_ONLY, []),
            (CatalogModel(output_modalities=["image"]), WORDS_ONLY, ["no text output"]),
            (
                CatalogModel(expires_on=datetime(2026, 12, 31, tzinfo=UTC).date()),
                WORDS_ONLY,
                ["retires on 2026-12-31"],
            ),
            (CatalogModel(vanished_at=NOW), WORDS_ONLY, ["no longer offered"]),
            (
                CatalogModel(vanished_at=NOW, context_tokens=1),
                Needs(vision=True),
                [
                    "no longer offered",
                    "can't read pictures",
                    "no structured outputs",
                    "1-token context (16,000 needed)",
                ],
            ),
        ]
        for model, needs, expected in table:
            with self.subTest(expected, needs=needs):
                assert lacks(model, needs) == expected


class PriceTests(TestCase):
    def test_a_price_reads_as_dollars_per_million_tokens(self):
        table = {
            "0.000003": "$3.00",
            "0.00000025": "$0.25",
            "0.0000000375": "$0.0375",
            "0.0006": "$600.00",
            "0.00125": "$1,250.00",
            "0": "free",
        }
        for price, words in table.items():
            with self.subTest(price):
                assert per_million(Decimal(price)) == words
        assert per_million(None) == "price not known"

    def test_costs_follow_the_rules_for_long_prompts_and_for_hours(self):
        model = row(
            "a/one",
            pricing={
                "prompt": "0.000002",
                "completion": "0.00001",
                "overrides": [
                    {"min_prompt_tokens": 1000, "prompt": "0.000004"},
                    {"utc_start": "1630", "utc_end": "0030", "prompt": "0.000001"},
                    {"utc_days": ["sunday"], "prompt": "0.0000005"},
                ],
            },
        )
        noon, night = (datetime(2026, 11, 26, hour, 10, tzinfo=UTC) for hour in (12, 0))
        sunday = datetime(2026, 11, 29, 12, tzinfo=UTC)
        table: list[tuple[int, datetime | None, str]] = [
            (999, None, "0.001998"),
            (1000, None, "0.004"),
            (1000, noon, "0.004"),
            (1000, night, "0.001"),
            (1000, sunday, "0.0005"),
            (0, None, "0"),
        ]
        for tokens, at, expected in table:
            with self.subTest(tokens, at=at):
                cost = estimated_cost_usd(model, tokens, 100, at=at)

                assert cost == Decimal(expected) + Decimal("0.001")

    def test_a_request_may_have_a_price_of_its_own(self):
        pricing = {"prompt": "0.000001", "completion": "0.000001", "request": "0.005"}

        model = row("a/one", pricing=pricing)

        assert estimated_cost_usd(model, 1000, 0) == Decimal("0.006")
        assert price_lines(model) == [
            "$1.00 in, $1.00 out per million tokens, and $0.005 a request"
        ]

    def test_a_price_that_is_not_said_is_no_price(self):
        for pricing in ({"prompt": "-1", "completion": "-1"}, {"prompt": "0.1"}, {}):
            with self.subTest(pricing):
                model = row("a/one", pricing=pricing)

                assert estimated_cost_usd(model, 1, 1) is None
                assert price_lines(model) == ["price not known"]

    def test_the_rules_are_told_beneath_the_usual_prices(self):
        model = row(
            "a/one",
            pricing={
                "prompt": "0.000003",
                "completion": "0.000015",
                "overrides": [
                    {"min_prompt_tokens": 200_000, "prompt": "0.000006"},
                    {
                        "utc_start": "1630",
                        "utc_end": "0030",
                        "utc_days": ["saturday", "sunday"],
                        "completion": "0.00001",
                    },
                ],
            },
        )

        assert price_lines(model) == [
            "$3.00 in, $15.00 out per million tokens",
            "from 200,000 input tokens: $6.00 in, $15.00 out",
            "16:30 to 00:30 UTC, on Sat, Sun: $3.00 in, $10.00 out",
        ]

    def test_a_free_model_is_free(self):
        model = row("a/one:free", pricing={"prompt": "0", "completion": "0", "request": "0"})

        assert price_lines(model) == ["free"]
        assert estimated_cost_usd(model, 10**6, 10**6) == 0
