"""Models in use that are about to be retired or are gone, and what could take their place."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django.test import SimpleTestCase, TestCase, override_settings

from agents.base import Needs
from agents.models import AgentModelConfig, CatalogModel
from agents.retirement import Reason, Retirement, Use, all_of, family, retirements, uses_by_agents
from tests.agents.catalog.listing import NOW, entry, take_in
from tests.made_up_agents import made_up

TODAY = date(2026, 11, 26)
WORDS_ONLY = Needs(json_schema=False)


def priced(model_id: str, per_million: float, **changes: Any) -> Any:
    prices = f"{per_million / 2_000_000:.12f}"
    return entry(model_id, pricing={"prompt": prices, "completion": prices}, **changes)


def in_days(days: int) -> str:
    return (TODAY + timedelta(days=days)).isoformat()


def warned(*uses: Use, today: date = TODAY) -> dict[str, Retirement]:
    return {warning.model_id: warning for warning in retirements(uses, today=today)}


class WarningTests(TestCase):
    def test_a_warning_comes_at_thirty_seven_and_one_day_and_once_for_each(self):
        take_in(entry("a/one", expiration_date=in_days(40)))
        use = Use(model_id="a/one", who="strategist")
        table: list[tuple[int, int | None, str]] = [
            (40, None, ""),
            (31, None, ""),
            (30, 30, "in 30 days"),
            (8, 30, "in 8 days"),
            (7, 7, "in 7 days"),
            (2, 7, "in 2 days"),
            (1, 1, "tomorrow"),
            (0, 1, "today"),
            (-3, 1, "which has passed"),
        ]
        keys = set()
        for days_left, threshold, words in table:
            with self.subTest(days_left):
                warning = warned(use, today=TODAY + timedelta(days=40 - days_left)).get("a/one")

                if threshold is None:
                    assert warning is None
                    continue
                assert warning is not None
                assert (warning.days_left, warning.threshold_days) == (days_left, threshold)
                assert warning.sentence == f"a/one retires on {in_days(40)}, {words}."
                keys.add((threshold, warning.event_key))
        assert len(keys) == len({key for _, key in keys}) == 3

    def test_a_day_that_is_put_off_is_told_anew(self):
        use = Use(model_id="a/one", who="strategist")
        take_in(entry("a/one", expiration_date=in_days(5)))
        first = warned(use)["a/one"].event_key
        take_in(entry("a/one", expiration_date=in_days(6)))

        assert warned(use)["a/one"].event_key != first

    def test_vanished_and_unknown_models_come_first_and_have_keys_of_their_own(self):
        take_in(entry("a/gone"), entry("a/soon", expiration_date=in_days(3)), entry("a/fine"))
        take_in(
            entry("a/soon", expiration_date=in_days(3)),
            entry("a/later", expiration_date=in_days(20)),
            entry("a/fine"),
        )
        ids = ["a/later", "a/soon", "a/unheard-of", "a/fine", "a/gone", "a/fine:nitro"]

        warnings = retirements([Use(model_id=name, who="x") for name in ids], today=TODAY)

        assert [(w.model_id, w.reason, w.event_key) for w in warnings] == [
            ("a/gone", Reason.VANISHED, "a/gone:vanished:2026-11-26"),
            ("a/unheard-of", Reason.UNKNOWN, "a/unheard-of:unknown"),
            ("a/soon", Reason.EXPIRES, "a/soon:expires:2026-11-29:7"),
            ("a/later", Reason.EXPIRES, "a/later:expires:2026-12-16:30"),
        ]

    def test_all_who_use_a_model_are_named_in_one_warning(self):
        take_in(entry("a/gone"), entry("a/blind", architecture={"input_modalities": ["text"]}))
        CatalogModel.objects.filter(pk="a/gone").update(vanished_at=NOW)

        (warning,) = retirements(
            [
                Use(model_id="a/gone", who="trainer"),
                Use(model_id=" a/gone", who="extraction", needs=Needs(vision=True)),
                Use(model_id="a/gone", who="trainer"),
            ],
            today=TODAY,
        )

        assert warning.used_by == ("extraction", "trainer")
        assert warning.successor is None  # one of them needs pictures
        assert warning.advice == "No model in the catalog can replace it."

    def test_before_the_first_sync_nothing_is_said(self):
        assert warned(Use(model_id="a/one", who="strategist")) == {}

    def test_what_is_no_model_of_the_list_is_not_missed(self):
        take_in(entry("a/one"))

        assert warned(Use(model_id="@preset/sales", who="x"), Use(model_id="gpt-5", who="y")) == {}


class SuccessorTests(TestCase):
    def successor(self, model_id: str, needs: Needs = WORDS_ONLY) -> str | None:
        chosen = warned(Use(model_id=model_id, who="x", needs=needs))[model_id].successor
        return None if chosen is None else chosen.model_id

    def test_it_is_the_authors_newest_of_the_family(self):
        take_in(
            priced("anthropic/claude-3.5-sonnet", 9, expiration_date=in_days(5), created=100),
            priced("anthropic/claude-sonnet-4", 9, created=200),
            priced("anthropic/claude-sonnet-4.5", 30, created=300),
            priced("anthropic/claude-opus-4.5", 9, created=400),
            priced("other/claude-sonnet-5", 9, created=500),
        )

        assert self.successor("anthropic/claude-3.5-sonnet") == "anthropic/claude-sonnet-4.5"

    def test_of_equally_new_ones_it_is_the_nearest_in_price(self):
        take_in(
            priced("a/big-1", 10, expiration_date=in_days(5)),
            priced("a/big-2", 100),
            priced("a/big-3", 12),
            priced("a/big-4", 1),
        )

        assert self.successor("a/big-1") == "a/big-3"

    def test_it_fits_the_needs_stays_and_is_no_alias(self):
        take_in(
            priced("a/big-1", 10, expiration_date=in_days(5)),
            priced("a/big-2", 10, architecture={"input_modalities": ["text"]}, created=900),
            priced("a/big-3", 10, supported_parameters=[], created=900),
            priced("a/big-4", 10, context_length=8192, created=900),
            priced("a/big-5", 10, expiration_date=in_days(300), created=900),
            priced("a/big-latest", 10, alias_target={"slug": "a/big-2"}, created=900),
            priced("a/big-6:free", 0, created=900),
            priced("a/big-7", 10, created=800),
        )

        assert self.successor("a/big-1", Needs(vision=True)) == "a/big-7"

    def test_without_family_it_is_the_authors_nearest_in_price_then_anybodys(self):
        take_in(
            priced("a/big-1", 10, expiration_date=in_days(5)),
            priced("a/small-1", 2, created=900),
            priced("a/medium-1", 8),
            priced("b/large", 10),
            priced("c/gone", 10, expiration_date=in_days(5)),
        )

        assert self.successor("a/big-1") == "a/medium-1"
        assert self.successor("c/gone") == "b/large"

    def test_a_free_variant_that_ends_leads_to_its_base_or_to_a_free_one(self):
        take_in(
            priced("a/one", 3, created=100),
            priced("a/one:free", 0, canonical_slug="a/one", expiration_date=in_days(2)),
        )
        assert self.successor("a/one:free") == "a/one"

        take_in(
            priced("a/one", 3, created=100),
            priced("a/one:free", 0, canonical_slug="a/one", expiration_date=in_days(2)),
            priced("a/one-2:free", 0, created=100),
        )
        assert self.successor("a/one:free") == "a/one-2:free"

    def test_the_model_itself_is_never_its_successor(self):
        take_in(entry("a/one", expiration_date=in_days(5)))

        assert self.successor("a/one") is None
        assert self.successor("a/one:nitro") is None

    def test_the_advice_names_its_price(self):
        take_in(priced("a/big-1", 10, expiration_date=in_days(5)), priced("a/big-2", 5))

        advice = warned(Use(model_id="a/big-1", who="x", needs=WORDS_ONLY))["a/big-1"].advice

        assert advice == "Possible replacement: a/big-2 ($2.50 in, $2.50 out per million tokens)."


class FamilyTests(SimpleTestCase):
    def test_versions_sizes_and_states_are_no_part_of_a_family(self):
        table = {
            "anthropic/claude-3.5-sonnet": {"claude", "sonnet"},
            "anthropic/claude-sonnet-4.5": {"claude", "sonnet"},
            "openai/gpt-4-1106-preview": {"gpt"},
            "openai/gpt-4o-mini": {"gpt", "mini"},
            "openai/gpt-5-mini:nitro": {"gpt", "mini"},
            "openai/o4-mini": {"o", "mini"},
            "deepseek/deepseek-chat-v3.1": {"deepseek"},
            "meta-llama/llama-3.3-70b-instruct": {"llama"},
            "google/gemini-2.5-flash-lite": {"gemini", "flash", "lite"},
            "qwen/qwen3-max": {"qwen", "max"},
            "~anthropic/claude-sonnet-latest": {"claude", "sonnet"},
        }
        for model_id, expected in table.items():
            with self.subTest(model_id):
                assert family(model_id) == expected


class UseTests(TestCase):
    @override_settings(DEFAULT_MODEL="openai/gpt-5-mini")
    def test_overrides_in_force_and_the_default_model_are_in_use(self):
        AgentModelConfig.objects.upsert("extraction", "a/one", "olga")
        AgentModelConfig.objects.upsert("trainer", "a/two", "olga")
        AgentModelConfig.objects.deactivate("trainer")
        AgentModelConfig.objects.upsert(made_up("former-agent"), "a/three", "olga")

        uses = {use.who: use for use in uses_by_agents()}

        assert {who: use.model_id for who, use in uses.items()} == {
            "extraction": "a/one",
            "DEFAULT_MODEL": "openai/gpt-5-mini",
        }
        assert uses["extraction"].needs.vision
        needs = uses["DEFAULT_MODEL"].needs
        assert (needs.vision, needs.context_tokens) == (True, 32_000)
        assert (needs.least_output_tokens, needs.most_output_tokens) == (800, 4_000)

    def test_needs_of_several_add_up(self):
        assert all_of([]) == Needs()
        assert all_of([Needs(json_schema=False), Needs(vision=True, context_tokens=5)]) == Needs(
            vision=True
        )
