"""The model check on OpenRouter's own lists: entries are two models, one model, or routers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import permutations

from django.test import SimpleTestCase, TestCase

from agents.catalog import is_served
from agents.catalog.aliases import judged
from agents.catalog.entries import Entry
from agents.catalog.lookup import known_as
from agents.catalog.store import store
from tests.agents.catalog.listing import NOW
from tests.agents.catalog.recorded import DAYS, ROUTERS, listing_of, payload_of

# The test's own idea of a name without its date and variant, wider than the product's.
UNDATED = re.compile(r"(-(\d{8}|\d{4}-\d{2}-\d{2}|\d{4}|\d{2}-\d{2}|latest|preview))+$")


def alike(day: str) -> Iterator[tuple[Entry, Entry]]:
    """Yield every ordered pair of entries whose names differ by a date or a variant only."""
    by_name: dict[str, list[Entry]] = defaultdict(list)
    for entry in listing_of(day).entries.values():
        by_name[UNDATED.sub("", entry.model_id.partition(":")[0])].append(entry)
    for entries in by_name.values():
        yield from permutations(entries, 2)


def verdict(day: str, requested: str, served: str) -> bool | None:
    entries = listing_of(day).entries.values()
    return judged(requested, served, lambda name: known_as(name, entries))


class RecordedListTests(SimpleTestCase):
    def test_the_lists_are_read_whole(self):
        for day, size in zip(DAYS, (345, 421), strict=True):
            listing = listing_of(day)

            assert (len(listing.entries), listing.skipped) == (size, 0)
            assert len(payload_of(day)["data"]) == size

    def test_two_entries_are_the_same_model_only_where_the_list_says_so(self):
        pairs = [(day, one, other) for day in DAYS for one, other in alike(day)]
        wrong = [
            (day, one.model_id, other.model_id)
            for day, one, other in pairs
            if verdict(day, one.model_id, other.model_id)
            is not (one.canonical_slug == other.canonical_slug)
        ]

        assert wrong == []
        assert len(pairs) > 200
        different = [1 for _, one, other in pairs if one.canonical_slug != other.canonical_slug]
        assert len(different) > 60

    def test_an_entry_is_served_under_its_full_name_and_under_no_other_entrys(self):
        for day in DAYS:
            entries = listing_of(day).entries.values()
            slugs = {entry.canonical_slug for entry in entries}
            for entry in entries:
                if entry.is_router or entry.model_id.startswith("~"):
                    continue
                assert verdict(day, entry.model_id, entry.canonical_slug) is True, entry.model_id
                for slug in [slug for slug in slugs if slug[:12] == entry.model_id[:12]]:
                    if slug != entry.canonical_slug:
                        assert verdict(day, entry.model_id, slug) is False, (entry.model_id, slug)

    def test_the_newest_of_a_family_is_what_the_list_says_or_newer_than_the_list(self):
        newest = [e for e in listing_of(DAYS[1]).entries.values() if e.model_id.startswith("~")]
        assert len(newest) > 10
        for entry in newest:
            assert verdict(DAYS[1], entry.model_id, entry.alias_target) is True
            assert verdict(DAYS[1], entry.model_id, "openai/gpt-3.5-turbo") is False
            assert verdict(DAYS[1], entry.model_id, f"{entry.alias_target}x-newer") is None
            # In July the list did not say yet where they lead.
            assert verdict(DAYS[0], entry.model_id, "openai/gpt-3.5-turbo") is None

    def test_routers_are_known_by_what_the_lists_say(self):
        for day in DAYS:
            entries = listing_of(day).entries.values()
            assert {entry.model_id for entry in entries if entry.is_router} == ROUTERS[day]
            for router in ROUTERS[day]:
                for entry in entries:
                    if entry.model_id != router:
                        assert verdict(day, router, entry.model_id) is None
                        assert verdict(day, entry.model_id, router) is not True


class RecordedTableTests(TestCase):
    def test_the_table_gives_the_verdict_that_the_list_gives(self):
        for day in DAYS:
            store(listing_of(day), {}, now=NOW, accept_fewer=True)
        pairs = list(alike(DAYS[1]))

        for one, other in pairs:
            expected = one.canonical_slug == other.canonical_slug
            assert is_served(one.model_id, other.model_id) is expected
        assert is_served("moonshotai/kimi-k2", "moonshotai/kimi-k2-0905") is False
        assert is_served("deepseek/deepseek-r1", "deepseek/deepseek-r1-0528") is False
        assert is_served("switchpoint/router", "deepseek/deepseek-r1") is None
