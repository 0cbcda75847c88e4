"""From OpenRouter to the table, over loopback HTTP: taken in whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any
from unittest.mock import patch

import pytest
from asgiref.sync import sync_to_async
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import TestCase, TransactionTestCase, override_settings
from django.utils import timezone

from agents.catalog import CatalogNotSynced, feed, find, sync, sync_and_wait
from agents.catalog.entries import NotACatalogue
from agents.llm.retries import RetryPolicy
from agents.models import AgentModelConfig, CatalogModel
from tests.agents.catalog.listing import (
    NOW,
    SandboxCatalogCase,
    entry,
    offered,
    openrouter,
    payload,
    take_in,
)
from tests.canaries import SHARED_KEY
from tests.llm.loopback import (
    Canned,
    drip,
    nine_megabytes,
    nonsense,
    reset_before_answer,
    reset_mid_answer,
    unused_base_url,
)

LATER = NOW + timedelta(days=1)
SMALL = "mistralai/mistral-small-3.2-24b-instruct"  # has an endpoint without structured outputs
AT_ONCE = RetryPolicy(attempts=3, wait_initial_s=0.0, wait_jitter_s=0.0)


@contextmanager
def impatient(list_s: float = 5.0) -> Iterator[None]:
    with patch.object(feed, "RETRIES", AT_ONCE), patch.object(feed, "LIST_S", list_s):
        yield


class SandboxSyncTests(SandboxCatalogCase):
    async def test_a_first_sync_takes_every_model_in_with_prices_and_dates(self):
        report = await sync(now=NOW)

        sonnet = await CatalogModel.objects.aget(pk="anthropic/claude-sonnet-4.5")
        mini = await CatalogModel.objects.aget(pk="~openai/gpt-mini-latest")
        hermes = await CatalogModel.objects.aget(pk="nousresearch/hermes-3-llama-3.1-70b")
        assert report.listed == len(report.new) == await CatalogModel.objects.acount() > 12
        assert (report.vanished, report.returned, report.skipped) == ((), (), 0)
        assert (sonnet.prompt_usd, sonnet.completion_usd) == (
            Decimal("0.000003"),
            Decimal("0.000015"),
        )
        assert sonnet.canonical_slug == "anthropic/claude-4.5-sonnet-20250929"
        assert sonnet.price_overrides[0]["min_prompt_tokens"] == 200_000
        assert mini.alias_target == "openai/gpt-5-mini"
        assert not hermes.has_structured_outputs
        assert (sonnet.first_seen_at, sonnet.last_seen_at) == (NOW, NOW)

    async def test_models_that_retire_soon_are_reported_whenever_today_is(self):
        report = await sync()

        today = timezone.now().date()
        left = {
            model.model_id: (model.expires_on - today).days
            async for model in CatalogModel.objects.exclude(expires_on=None)
            if model.expires_on
        }
        assert set(report.expiring) == set(left)
        assert left["google/gemini-2.0-flash"] in (4, 5)
        assert left["openai/gpt-4-1106-preview"] in (24, 25)

    async def test_a_model_that_vanishes_keeps_its_row_and_comes_back(self):
        await sync(now=NOW)
        await sync_to_async(self.withdraw)("openai/gpt-4.1")

        gone = await sync(now=LATER)
        row = await CatalogModel.objects.aget(pk="openai/gpt-4.1")
        await sync_to_async(self.bring_back)()
        back = await sync(now=LATER + timedelta(days=1))
        row_again = await CatalogModel.objects.aget(pk="openai/gpt-4.1")

        assert (gone.vanished, gone.new) == (("openai/gpt-4.1",), ())
        assert (row.vanished_at, row.last_seen_at, row.name) == (LATER, NOW, "OpenAI: GPT-4.1")
        assert (back.returned, back.vanished, back.new) == (("openai/gpt-4.1",), (), ())
        assert (row_again.vanished_at, row_again.first_seen_at) == (None, NOW)

    async def test_of_models_in_use_it_is_asked_who_serves_them(self):
        await sync([SMALL, "openai/gpt-4.1:nitro", "no/such"], now=NOW)

        small = await CatalogModel.objects.aget(pk=SMALL)
        other = await CatalogModel.objects.aget(pk="openai/gpt-4.1")
        unused = await CatalogModel.objects.aget(pk="openai/gpt-5-mini")
        assert (small.endpoints, small.endpoints_with_schema) == (2, 1)
        assert (small.uptime_percent, small.endpoints_seen_at) == (99.9, NOW)
        assert (other.endpoints, unused.endpoints) == (1, None)

    def test_a_view_can_sync_and_wait(self):
        assert sync_and_wait(now=NOW).listed == CatalogModel.objects.count()


class RefusalTests(TestCase):
    async def test_no_key_leaves_with_the_request(self):
        with override_settings(OPENROUTER_API_KEY=SHARED_KEY):
            async with openrouter(payload(entry())) as server:
                await sync(now=NOW)

        (request,) = server.received
        assert (request.method, request.path) == ("GET", "/api/v1/models")
        assert "authorization" not in request.headers

    async def test_whatever_goes_wrong_the_former_catalogue_stays(self):
        await sync_to_async(take_in)(entry("a/one"), entry("a/two"))
        before = [row async for row in CatalogModel.objects.values()]
        table: dict[str, Any] = {
            "500": Canned(status=500, body={"error": {"code": 500, "message": "masked"}}),
            "404": Canned(status=404, body=b"<html>"),
            "302": Canned(status=302, headers={"Location": "http://192.0.2.1/"}),
            "a page": Canned(body=b"<html>sign in</html>"),
            "no list": {"data": {"models": []}},
            "an empty list": {"data": []},
            "nothing sound": payload({"id": 7}),
            "a lonely model": payload(entry("b/three", context_length=-1)),
            "NaN": Canned(body=b'{"data": NaN}'),
            "compressed": Canned(body=b"x", headers={"Content-Encoding": "gzip"}),
            "nine megabytes": nine_megabytes,
            "deep": Canned(body=b"[" * 100_000),
            "nonsense": nonsense,
            "cut off": reset_mid_answer,
            "hung up": reset_before_answer,
        }
        for name, reply in table.items():
            with self.subTest(name):
                async with openrouter(reply):
                    with impatient(), pytest.raises(CatalogNotSynced):
                        await sync(now=LATER)

                assert [row async for row in CatalogModel.objects.values()] == before

    async def test_a_list_that_drips_in_for_ever_is_given_up(self):
        async with openrouter(drip):
            with impatient(list_s=0.2), pytest.raises(CatalogNotSynced, match=r"within 0\.2 s"):
                await sync(now=NOW)

    async def test_a_hiccup_is_tried_again_also_after_the_request_had_left(self):
        async with openrouter(
            Canned(status=503), reset_mid_answer, payload(entry("a/one"))
        ) as server:
            with impatient():
                report = await sync(now=NOW)

        assert (report.new, len(server.received)) == (("a/one",), 3)

    async def test_facts_that_cannot_be_had_leave_those_that_were(self):
        listed = payload(entry("a/one"), entry("a/two"))
        sound = {"data": {"endpoints": [{"supported_parameters": [], "uptime_last_1d": 50}]}}
        async with openrouter(listed, sound):
            await sync(["a/one"], now=NOW)
        async with openrouter(listed, {"data": "nonsense"}) as server:
            await sync(["a/one"], now=LATER)

        row = await CatalogModel.objects.aget(pk="a/one")
        assert server.received[-1].path == "/api/v1/models/a/one/endpoints"
        assert (row.endpoints, row.endpoints_with_schema, row.uptime_percent) == (1, 0, 50.0)
        assert (row.endpoints_seen_at, row.last_seen_at) == (NOW, LATER)


class StoreTests(TestCase):
    def test_a_list_that_has_shrunk_absurdly_makes_no_model_vanish(self):
        many = [entry(f"a/m{number}") for number in range(10)]
        take_in(*many)

        with pytest.raises(NotACatalogue, match="in it: 4, known so far: 10"):
            take_in(*many[:4], now=LATER)

        assert len(offered()) == 10
        assert len(take_in(*many[:5], now=LATER).vanished) == 5

    def test_an_operator_may_accept_fewer_models(self):
        take_in(*(entry(f"a/m{number}") for number in range(10)))

        report = take_in(entry("b/only"), now=LATER, accept_fewer=True)

        assert (len(report.vanished), offered()) == (10, ["b/only"])

    def test_an_entry_that_cannot_be_read_any_more_has_not_vanished(self):
        take_in(*(entry(f"a/{name}") for name in ("one", "two", "three", "four")))

        report = take_in(
            entry("a/one", context_length="many"), entry("a/two"), entry("a/four"), now=LATER
        )

        assert (report.vanished, report.skipped) == (("a/three",), 1)
        kept = CatalogModel.objects.get(pk="a/one")
        assert (kept.vanished_at, kept.context_tokens) == (None, 128_000)

    async def test_a_list_that_came_in_part_makes_no_model_vanish(self):
        await sync_to_async(take_in)(entry("a/one"), entry("a/two"))
        async with openrouter(payload(entry("a/three"), links={"next": "/api/v1/models?offset=1"})):
            report = await sync(now=LATER)

        assert (report.is_whole, report.vanished, report.new) == (False, (), ("a/three",))
        assert len(await sync_to_async(offered)()) == 3

    def test_what_the_list_says_anew_replaces_what_it_said(self):
        take_in(entry("a/one", name="Old", expiration_date="2026-12-31"))

        take_in(entry("a/one", name="New", pricing={"prompt": "0.5"}), now=LATER)

        row = CatalogModel.objects.get()
        assert (row.name, row.expires_on, row.completion_usd) == ("New", None, None)
        assert (row.first_seen_at, row.last_seen_at) == (NOW, LATER)


class SideBySideTests(TransactionTestCase):
    def test_syncs_at_the_same_time_take_turns(self):
        many = [entry(f"a/m{number}") for number in range(20)]

        def sync_some(number: int) -> int:
            try:
                # Each in another order, and each without another one: a recipe for deadlocks.
                some = many[number:] + many[:number]
                return take_in(*some[:-1], now=NOW + timedelta(hours=number)).listed
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as pool:
            listed = list(pool.map(sync_some, range(12)))

        assert listed == [19] * 12
        assert len(offered()) == 19


class SyncModelsTests(SandboxCatalogCase):
    def printed(self, *arguments: str) -> str:
        out = StringIO()
        call_command("syncmodels", *arguments, stdout=out)
        return out.getvalue()

    def test_it_says_what_is_new_and_what_expires(self):
        said = self.printed()

        count = CatalogModel.objects.count()
        assert f"{count} models on offer." in said
        assert f"{count} new: anthropic/claude-haiku-4.5, " in said
        assert "2 expiring within 30 days: google/gemini-2.0-flash, openai/gpt-4-1106" in said

    def test_it_says_what_is_gone_and_what_that_means_for_the_agents(self):
        AgentModelConfig.objects.upsert("strategist", "openai/gpt-4.1", "olga")
        self.printed()
        self.withdraw("openai/gpt-4.1")

        said = self.printed()

        assert "1 no longer offered: openai/gpt-4.1\n" in said
        assert "openai/gpt-4.1 hasn't been offered since " in said
        assert "Used by strategist. Possible replacement: openai/gpt-" in said

    async def test_it_counts_what_it_could_not_read_and_names_at_most_ten(self):
        many = [entry(f"a/m{number:02}") for number in range(14)]
        async with openrouter(payload(*many, None)):
            said = await sync_to_async(self.printed)()

        assert "14 new: a/m00, " in said
        assert ", a/m09 and 4 more\n" in said
        assert "1 entry could not be read" in said

    def test_without_an_answer_it_says_so_in_one_line_and_changes_nothing(self):
        self.printed()
        before = offered()

        with (
            override_settings(OPENROUTER_BASE_URL=unused_base_url()),
            impatient(),
            pytest.raises(CommandError) as caught,
        ):
            self.printed()

        assert "Couldn't fetch OpenRouter's model list: the connection failed" in str(caught.value)
        assert str(caught.value).endswith("The catalog hasn't changed.")
        assert "\n" not in str(caught.value)
        assert caught.value.returncode == 1
        assert offered() == before

    async def test_fewer_models_are_taken_in_only_when_told_so(self):
        await sync_to_async(self.printed)()
        async with openrouter(payload(entry("a/only"))):
            with pytest.raises(CommandError, match="models in it: 1"):
                await sync_to_async(self.printed)()
            assert await sync_to_async(find)("a/only") is None
            await sync_to_async(self.printed)("--accept-fewer")

        assert await sync_to_async(offered)() == ["a/only"]
