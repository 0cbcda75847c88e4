"""Reading OpenRouter's list: what is true is taken, what cannot be is left out and counted."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.test import SimpleTestCase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from agents.catalog.entries import (
    MAX_ENTRIES,
    WEEKDAYS,
    EndpointFacts,
    Entry,
    Listing,
    NotACatalogue,
)
from agents.catalog.prices import estimated_cost_usd, price_lines
from agents.catalog.store import store
from agents.models import CatalogModel
from tests.agents.catalog.listing import NOW, Json, entry, payload
from tests.proving import amount

HOSTILE_VALUES: list[Any] = [
    *(True, -1, -5, 2**70, 10**400, Decimal("NaN"), Decimal("Infinity"), Decimal("1e308")),
    *(Decimal("-0.5"), 1e308, float("nan"), float("inf"), "", "NaN", "Infinity", "1e308", "-2"),
    *("0x1", "1_0", "٣", "\0", "\ud83d", "x" * 10_000, "a/b", [], {}, [None], [[]], {"": None}),
    *(["\0"], ["x" * 100], ["text"] * 101, {"slug": 7}, {"slug": "../x"}),
]
PRICES = ["prompt", "completion", "request"]


class EntryTests(SimpleTestCase):
    def test_an_entry_is_read_with_all_it_says(self):
        read = Entry.from_payload(
            entry(
                "anthropic/claude-sonnet-4.5",
                canonical_slug="anthropic/claude-4.5-sonnet-20250929",
                alias_target={"slug": "anthropic/other", "name": "Other"},
                expiration_date="2026-12-31",
                pricing={
                    "prompt": "0.000003",
                    "completion": "0.000015",
                    "image": "0.0048",
                    "overrides": [{"min_prompt_tokens": 200_000, "prompt": "0.000006"}],
                },
            )
        )

        assert read == Entry(
            model_id="anthropic/claude-sonnet-4.5",
            name="claude-sonnet-4.5",
            canonical_slug="anthropic/claude-4.5-sonnet-20250929",
            alias_target="anthropic/other",
            context_tokens=128_000,
            max_completion_tokens=32_768,
            prompt_usd=Decimal("0.000003"),
            completion_usd=Decimal("0.000015"),
            request_usd=None,
            price_overrides=[{"prompt": "0.000006000000000", "min_prompt_tokens": 200_000}],
            input_modalities=["text", "image"],
            output_modalities=["text"],
            supported_parameters=["temperature", "response_format", "structured_outputs"],
            expires_on=date(2026, 12, 31),
            created=datetime(2025, 4, 14, 17, 23, 5, tzinfo=UTC),
            is_router=False,
        )

    def test_all_but_the_id_may_be_missing(self):
        read = Entry.from_payload({"id": "a/b"})

        assert (read.model_id, read.name, read.prompt_usd) == ("a/b", "a/b", None)
        assert (read.context_tokens, read.expires_on, read.supported_parameters) == (None, None, [])

    def test_a_router_is_known_by_its_tokenizer_its_price_or_its_name(self):
        table: list[tuple[Json, bool]] = [
            ({"architecture": {"tokenizer": "Router"}}, True),
            ({"pricing": {"prompt": "-1", "completion": "-1"}}, True),
            ({"pricing": {"completion": -1}}, True),
            ({"name": "Switchpoint Router"}, True),
            ({"name": "Auto Router (Beta)"}, True),
            ({"name": "Acme: Routery 2", "architecture": {"tokenizer": "Other"}}, False),
            ({"pricing": {"prompt": "0", "completion": "0"}}, False),
            ({"pricing": {}}, False),
            ({"architecture": {"tokenizer": "Router"}, "alias_target": {"slug": "a/b"}}, False),
            ({"id": "~acme/latest", "architecture": {"tokenizer": "Router"}}, False),
        ]
        for changes, expected in table:
            with self.subTest(changes):
                assert Entry.from_payload(entry(**changes)).is_router is expected

    def test_a_date_at_the_end_of_the_century_means_that_the_model_stays(self):
        assert Entry.from_payload(entry(expiration_date="2098-12-31")).expires_on is None

    def test_prices_are_exact_below_one_dollar_and_not_said_by_routers(self):
        table: list[tuple[Any, Decimal | None]] = [
            ("0.00003", Decimal("0.00003")),
            ("0", Decimal(0)),
            (0, Decimal(0)),
            ("-0", Decimal(0)),
            ("3e-7", Decimal("0.0000003")),
            (Decimal("0.0000001"), Decimal("0.0000001")),
            ("0.0000000000000004", Decimal(0)),
            ("-1", None),
            (None, None),
        ]
        for value, expected in table:
            with self.subTest(value):
                read = Entry.from_payload(entry(pricing={"prompt": value}))

                assert read.prompt_usd == expected

    def test_a_value_that_cannot_be_true_leaves_the_entry_out(self):
        table: dict[str, list[Any]] = {
            "id": [None, 7, "gpt-5", "a/b/c", "a/" + "b" * 200, "a/" + "b" * 10_000_000, "a/b\n"],
            "name": [7, ["x"]],
            "canonical_slug": [7, "no slug", "a/b?x"],
            "alias_target": ["a/b", {"slug": 7}, []],
            "context_length": [-1, "8192", 10**10, True, Decimal("8192.5")],
            "top_provider": [[], {"max_completion_tokens": -1}],
            "pricing": [
                *("free", [], {"prompt": "-0.5"}, {"prompt": "1"}, {"prompt": "NaN"}),
                *({"prompt": "inf"}, {"prompt": "1e308"}, {"prompt": ""}, {"prompt": "0.1x"}),
                *({"prompt": []}, {"completion": True}, {"completion": {}}),
                *(
                    {"completion": Decimal("1e308")},
                    {"prompt": Decimal("NaN")},
                    {"prompt": "0.9999999999999999999"},
                ),
                {"overrides": "none"},
            ],
            "architecture": ["text", {"input_modalities": "text"}],
            "supported_parameters": [[7], ["x"] * 101, "tools"],
            "expiration_date": ["soon", 20261231, "2026-02-30", "20261231"],
            "created": [-1, 2**70, "2025", 1.5],
        }
        for name, value in [(name, value) for name, values in table.items() for value in values]:
            with self.subTest(name, value=str(value)[:100]), pytest.raises(NotACatalogue):
                Entry.from_payload(entry(**{name: value}))

    def test_a_price_rule_that_is_not_understood_is_no_rule(self):
        table: list[tuple[Json, list[Json]]] = [
            (
                {"min_prompt_tokens": 5, "prompt": "0.1"},
                [{"min_prompt_tokens": 5, "prompt": "0.1"}],
            ),
            (
                {"utc_start": 1630, "utc_end": "0030", "prompt": "0.1"},
                [{"utc_start": "1630", "utc_end": "0030", "prompt": "0.1"}],
            ),
            ({"min_prompt_tokens": 5, "input_cache_read": "0.1"}, []),
            ({"prompt": "0.1", "input_cache_read": "0.2"}, [{"prompt": "0.1"}]),
            (
                {"utc_days": ["tuesday", "monday"], "prompt": "0.1"},
                [{"utc_days": ["monday", "tuesday"], "prompt": "0.1"}],
            ),
            ({"utc_days": ["caturday"], "prompt": "0.1"}, []),
            ({"utc_days": [], "prompt": "0.1"}, []),
            ({"weekday": 6, "prompt": "0.1"}, []),
            ({"utc_start": "1630", "prompt": "0.1"}, []),
            ({"utc_start": "9999", "utc_end": "0000", "prompt": "0.1"}, []),
            ({"min_prompt_tokens": -5, "prompt": "0.1"}, []),
            ({"min_prompt_tokens": 5, "prompt": "-0.1"}, []),
        ]
        for given_rule, expected in table:
            with self.subTest(given_rule):
                read = Entry.from_payload(entry(pricing={"overrides": [given_rule]}))

                rules = [
                    {n: v.rstrip("0") if n == "prompt" else v for n, v in rule.items()}
                    for rule in read.price_overrides
                ]
                assert rules == expected

    def test_a_name_is_cut_and_cleaned_of_what_no_database_holds(self):
        read = Entry.from_payload(entry(name="Good\0 \ud83d\n" + "x" * 10_000_000))

        assert read.name.startswith("Good\N{REPLACEMENT CHARACTER}")
        assert len(read.name) == 200
        read.name.encode()


class ListingTests(SimpleTestCase):
    def test_a_bad_entry_is_counted_and_the_rest_is_taken(self):
        body = payload(
            entry("a/good"), entry("a/bad", context_length=-1), None, 7, {}, entry("b/good")
        )

        listing = Listing.from_payload(body)

        assert list(listing.entries) == ["a/good", "b/good"]
        assert (listing.skipped, listing.unreadable_ids) == (4, frozenset({"a/bad"}))

    def test_of_two_entries_with_one_id_the_first_counts(self):
        listing = Listing.from_payload(payload(entry("a/b", name="first"), entry("a/b")))

        assert (listing.entries["a/b"].name, listing.skipped) == ("first", 1)
        assert not listing.unreadable_ids

    def test_a_list_that_goes_on_elsewhere_is_not_whole(self):
        assert Listing.from_payload(payload(entry())).is_whole
        assert not Listing.from_payload(payload(entry(), links={"next": "/models?p=2"})).is_whole

    def test_what_is_no_list_of_models_is_refused(self):
        too_long = {"data": [None] * (MAX_ENTRIES + 1)}
        table: list[Any] = [None, [], "x", 7, {}, {"data": {}}, payload(), payload({}), too_long]
        for body in table:
            with self.subTest(str(body)[:40]), pytest.raises(NotACatalogue):
                Listing.from_payload(body)


class EndpointTests(SimpleTestCase):
    def test_facts_count_the_endpoints_that_hold_to_a_schema(self):
        with_schema = {"supported_parameters": ["structured_outputs"], "uptime_last_1d": 97.5}
        body = {
            "data": {
                "endpoints": [
                    json.loads(json.dumps(with_schema), parse_float=Decimal),
                    {"supported_parameters": ["tools"], "uptime_last_30m": Decimal("99.123")},
                    {"supported_parameters": 7, "uptime_last_1d": -1},
                    "nonsense",
                ]
            }
        }

        facts = EndpointFacts.from_payload(body)

        assert facts == EndpointFacts(endpoints=3, endpoints_with_schema=1, uptime_percent=99.12)

    def test_what_lists_no_endpoints_is_refused(self):
        table: list[Any] = [None, {}, {"data": []}, {"data": {"endpoints": {}}}]
        for body in table:
            with self.subTest(body), pytest.raises(NotACatalogue):
                EndpointFacts.from_payload(body)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals()
    | st.text(max_size=20)
    | st.sampled_from(HOSTILE_VALUES),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values),
    max_leaves=8,
)
small_prices = st.decimals(min_value=0, max_value=Decimal("0.1"), places=15).map(str)
rules = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(PRICES, small_prices | json_values),
        "min_prompt_tokens": st.integers(0, 10**6) | json_values,
        "utc_start": st.sampled_from(["0000", "1630", 30]) | json_values,
        "utc_end": st.sampled_from(["0030", "2359", 1200]) | json_values,
        "utc_days": st.lists(st.sampled_from(WEEKDAYS)) | json_values,
        "weekday": json_values,
    },
)
pricings = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(PRICES, small_prices | small_prices | json_values),
        "overrides": st.lists(rules, max_size=3) | json_values,
    },
)
model_ids = st.builds("{}/{}".format, st.sampled_from("abc"), st.sampled_from(["x", "y:free", "z"]))
hostile_entries = json_values | st.fixed_dictionaries(
    {"id": model_ids | model_ids | json_values, "pricing": pricings | json_values},
    optional=dict.fromkeys(
        [name for name in entry() if name not in ("id", "pricing")] + ["alias_target"], json_values
    ),
)


class HostileListTests(TestCase):
    """Any list at all is refused or taken in, and what is taken in comes back as it was."""

    @settings(
        max_examples=amount(100, proving=1_000),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(entries=st.lists(hostile_entries, max_size=6))
    def test_whatever_is_listed_can_be_stored_and_read(self, entries: list[Any]):
        body = payload(*entries, entry("sound/model"))

        listing = Listing.from_payload(body)
        report = store(listing, {}, now=NOW, accept_fewer=True)

        assert "sound/model" in listing.entries
        assert len(listing.entries) + listing.skipped == len(entries) + 1
        assert report.listed == len(listing.entries)
        for model in CatalogModel.objects.filter(vanished_at=None):
            read = listing.entries[model.model_id]
            assert {name: getattr(model, name) for name in read.as_fields()} == read.as_fields()
            cost = estimated_cost_usd(model, 100_000, 1_000, at=NOW)
            assert cost is None or 0 <= cost < 200_000
            assert price_lines(model)
