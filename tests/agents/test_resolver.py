"""The resolver on a clock of the test's: what a look-up costs, and how old an answer may be."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid
from functools import partial

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import caches

from agents import revision
from agents.llm.base import Payer
from agents.model_config import ModelConfigService
from agents.models import AgentModelConfig, OnFailure
from agents.snapshot import read_snapshot
from tests.agents.doubles import (
    KEY,
    KEY_BEFORE_1_1,
    ResolverTestCase,
    change_by_sql,
    choose_model,
    in_other_thread,
)

MINI, GLM, SONNET = "openai/gpt-5-mini", "z-ai/glm-4.6", "anthropic/claude-sonnet-4.5"
LOOK_S = 0.0501  # a little more than the resolver waits between two looks at the cache

choose = sync_to_async(choose_model)
by_sql = sync_to_async(change_by_sql)
deactivate = AgentModelConfig.objects.adeactivate


async def model_of(service: ModelConfigService, agent: str = "extraction") -> str | None:
    override = await service.get_override(agent)
    return override.model_id if override else None


class AnswerTest(ResolverTestCase):
    async def test_an_agent_with_an_override_gets_the_operators_choice(self):
        await choose("extraction", MINI, on_failure=OnFailure.DEFAULT_MODEL)

        override = await self.service.get_override("extraction")

        assert override is not None
        assert (override.agent_name, override.model_id) == ("extraction", MINI)
        assert (override.set_by, override.version) == ("olga", 1)
        assert override.on_failure == OnFailure.DEFAULT_MODEL

    async def test_an_agent_without_one_gets_none(self):
        await choose("extraction", MINI)

        assert await self.service.get_override("trainer") is None
        assert await self.service.get_provider_for_agent("trainer") is None

    async def test_a_deactivated_override_is_none(self):
        await choose("extraction", MINI)
        await deactivate("extraction")

        assert await self.service.get_override("extraction") is None
        assert await self.service.get_all() == {}

    async def test_all_overrides_come_in_one_frozen_mapping(self):
        await choose("extraction", MINI)
        await choose("trainer", GLM)

        overrides = await self.service.get_all()

        assert {name: o.model_id for name, o in overrides.items()} == {
            "extraction": MINI,
            "trainer": GLM,
        }
        with pytest.raises(TypeError):
            overrides["extraction"] = overrides["trainer"]  # type: ignore[index]

    async def test_the_provider_is_openrouter_on_the_team_key(self):
        await choose("extraction", SONNET)

        provider = await self.service.get_provider_for_agent("extraction")

        assert provider is not None
        assert (provider.name, provider.model_id) == ("openrouter", SONNET)
        assert provider.payer == Payer.SHARED

    async def test_without_a_shared_key_every_agent_keeps_its_default(self):
        await choose("extraction", SONNET)
        for key in (None, ""):
            with self.subTest(key):
                service = self.new_service(shared_key=key)

                resolution = await service.resolve("extraction")

                assert resolution.provider is None
                assert resolution.override is not None  # so that the record can say why

    async def test_a_choice_comes_with_the_evidence_of_its_snapshot(self):
        await choose("extraction", SONNET)
        await self.service.get_all()
        self.clock.tick(0.02)

        freshness = (await self.service.resolve("extraction")).freshness

        expected = await sync_to_async(lambda: read_snapshot().version)()
        assert freshness.version == expected
        assert round(freshness.age_s, 6) == 0.02
        assert not freshness.is_stale

    def test_a_thread_without_an_event_loop_can_read_too(self):
        choose_model("extraction", SONNET)

        assert self.service.freshness().version == read_snapshot().version


class CostTest(ResolverTestCase):
    async def test_a_look_up_within_50_ms_asks_nobody(self):
        await model_of(self.service)
        self.trips()

        for _ in range(1_000):
            await model_of(self.service)
            await self.service.get_provider_for_agent("trainer")

        assert self.trips() == (0, 0)

    async def test_after_50_ms_one_look_at_the_token_is_enough(self):
        await model_of(self.service)
        self.trips()
        self.clock.tick(0.049)
        await model_of(self.service)
        assert self.trips() == (0, 0)

        self.clock.tick(0.002)
        await model_of(self.service)
        await model_of(self.service)

        assert self.cache.calls == [("get", self.key), ("get", KEY_BEFORE_1_1)]
        assert self.database.queries == 0

    async def test_a_change_is_seen_by_the_first_look_after_50_ms(self):
        await choose("extraction", MINI)
        await model_of(self.service)

        await choose("extraction", GLM)
        assert await model_of(self.service) == MINI  # still within the 50 ms
        self.clock.tick(LOOK_S)

        assert await model_of(self.service) == GLM

    async def test_fifty_concurrent_look_ups_share_one_query(self):
        await choose("extraction", MINI)
        self.trips()

        answers = await asyncio.gather(*(model_of(self.service) for _ in range(50)))

        assert answers == [MINI] * 50
        assert self.database.queries == 1

    async def test_fifty_threads_share_one_query_too(self):
        await choose("extraction", MINI)
        barrier = threading.Barrier(50)
        versions = set()

        def read() -> None:
            barrier.wait(20)
            versions.add(self.service.freshness().version)

        threads = [threading.Thread(target=read) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join, 20)

        assert len(versions) == 1
        assert self.database.queries == 1

    async def test_a_look_up_that_is_cancelled_does_not_cancel_the_others(self):
        await choose("extraction", MINI)
        in_query, may_go_on = threading.Event(), threading.Event()

        def pause() -> None:
            in_query.set()
            may_go_on.wait(20)

        self.database.before_query = pause

        first = asyncio.create_task(model_of(self.service))
        await asyncio.to_thread(in_query.wait, 20)
        second = asyncio.create_task(model_of(self.service))
        await asyncio.sleep(0)
        first.cancel()
        may_go_on.set()

        assert await second == MINI
        assert self.database.queries == 1


class AgeTest(ResolverTestCase):
    """No invalidation arrives: SQL changes the row and nobody sets a token."""

    async def test_a_change_by_sql_is_in_effect_after_60_s_and_not_later(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        await by_sql("extraction", GLM)

        self.clock.tick(59.9)
        assert await model_of(self.service) == MINI
        self.clock.tick(0.1)

        assert await model_of(self.service) == GLM

    async def test_the_60_s_hold_however_often_the_resolver_looks(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        await by_sql("extraction", GLM)

        for _ in range(599):
            self.clock.tick(0.1)
            assert await model_of(self.service) == MINI
        self.clock.tick(0.11)

        assert await model_of(self.service) == GLM

    async def test_the_bound_is_a_setting(self):
        service = self.new_service(ttl_s=5.0)
        await choose("extraction", MINI)
        await model_of(service)
        await by_sql("extraction", GLM)
        self.clock.tick(5)

        assert await model_of(service) == GLM

    async def test_an_idle_process_never_answers_with_an_old_snapshot(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        await by_sql("extraction", GLM)

        self.clock.tick(24 * 3600)

        assert await model_of(self.service) == GLM


class TokenTest(ResolverTestCase):
    async def test_a_missing_token_means_ask_the_database(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        await by_sql("extraction", GLM)

        caches[revision.CACHE_ALIAS].clear()
        self.clock.tick(LOOK_S)

        assert await model_of(self.service) == GLM

    async def test_two_processes_that_both_mint_a_token_agree_after_a_look(self):
        await choose("extraction", MINI)
        second = self.new_service()
        caches[revision.CACHE_ALIAS].clear()

        await asyncio.gather(model_of(self.service), model_of(second))
        self.clock.tick(LOOK_S)
        await asyncio.gather(model_of(self.service), model_of(second))
        self.trips()
        self.clock.tick(LOOK_S)
        await asyncio.gather(model_of(self.service), model_of(second))

        assert self.database.queries == 0

    async def test_what_is_no_short_text_is_replaced_and_the_database_asked(self):
        cache = caches[revision.CACHE_ALIAS]
        huge: list[object] = ["", "a" * 65, "a" * 10_000_000, int("9" * 400)]
        for poison in (0, None, ["a"], {"a": 1}, b"bytes", 1.5, True, float("nan"), *huge):
            for key in (self.key, KEY_BEFORE_1_1):
                with self.subTest(poison=str(poison)[:20], key=key):
                    await choose("extraction", MINI)
                    self.clock.tick(1)
                    await model_of(self.service)
                    await by_sql("extraction", GLM)

                    cache.set(key, poison, timeout=None)
                    self.clock.tick(LOOK_S)

                    assert await model_of(self.service) == GLM
                    assert 0 < len(cache.get(key)) <= 64

    async def test_a_save_after_a_slow_readers_query_is_not_lost(self):
        """The race that delete-the-key-on-save loses: read, save, announce, then keep."""
        await choose("extraction", MINI)
        self.database.once_after_query = lambda: in_other_thread(
            lambda: choose_model("extraction", GLM)
        )

        assert await model_of(self.service) == MINI  # its query came before the save

        assert await model_of(self.new_service()) == GLM
        self.clock.tick(LOOK_S)
        assert await model_of(self.service) == GLM

    async def test_a_save_between_token_and_query_is_not_lost(self):
        await choose("extraction", MINI)
        self.cache.once_before(
            "get", KEY, lambda: in_other_thread(lambda: choose_model("extraction", GLM))
        )

        assert await model_of(self.service) == GLM
        self.clock.tick(LOOK_S)
        assert await model_of(self.service) == GLM

    async def test_an_announcement_that_overtakes_minting_is_not_lost(self):
        await choose("extraction", MINI)
        for key in (KEY, KEY_BEFORE_1_1):
            with self.subTest(key):
                caches[revision.CACHE_ALIAS].clear()
                model = f"{MINI}-{len(key)}"
                save = partial(choose_model, "extraction", model)
                self.cache.once_before("set", key, partial(in_other_thread, save))
                second = self.new_service()

                assert await model_of(self.new_service()) == model
                assert await model_of(second) == model

    async def test_a_token_of_the_past_costs_a_query_and_takes_no_process_back(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        cache = caches[revision.CACHE_ALIAS]
        old_tokens = cache.get_many([self.key, KEY_BEFORE_1_1])
        self.clock.tick(1)
        await choose("extraction", GLM)
        assert await model_of(self.service) == GLM
        before = (await self.service.resolve("extraction")).freshness.version
        self.trips()

        cache.clear()
        cache.set_many(old_tokens, timeout=None)
        self.clock.tick(LOOK_S)

        assert await model_of(self.service) == GLM
        assert (await self.service.resolve("extraction")).freshness.version == before
        assert self.database.queries == 1


class ForgedTest(ResolverTestCase):
    """Others write to the cache: that costs queries, a bounded number of them."""

    async def test_a_forged_token_costs_one_query_and_decides_nothing(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        for number, key in enumerate((self.key, KEY_BEFORE_1_1)):
            self.clock.tick(1)
            self.trips()
            caches[revision.CACHE_ALIAS].set(key, f"forged{number}", timeout=None)

            for _ in range(20):
                self.clock.tick(LOOK_S)
                assert await model_of(self.service) == MINI

            assert self.database.queries == 1

    async def test_a_key_that_is_overwritten_at_each_look_costs_ten_queries_a_second(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        poisons = ["forged{}", "", None, ["x"], "a" * 1_000]
        for key in (self.key, KEY_BEFORE_1_1):
            self.clock.tick(2)
            for second in range(10):
                self.trips()
                for look in range(100):
                    self.clock.tick(0.01)
                    poison = poisons[(second + look) % len(poisons)]
                    value = poison.format(look) if isinstance(poison, str) else poison
                    caches[revision.CACHE_ALIAS].set(key, value, timeout=None)
                    assert await model_of(self.service) == MINI
                assert 5 <= self.database.queries <= 10

    async def test_in_no_second_are_there_more_than_ten_queries(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        self.clock.tick(60.5)
        queried_at: list[float] = []
        self.database.before_query = lambda: queried_at.append(self.clock.now)
        for look in range(2_000):
            self.clock.tick(0.001)
            caches[revision.CACHE_ALIAS].set(self.key, f"forged{look}", timeout=None)
            await model_of(self.service)

        assert len(queried_at) > 10
        for first, eleventh in zip(queried_at, queried_at[10:], strict=False):
            assert eleventh - first > 1.0

    async def test_a_change_in_a_storm_waits_for_its_turn_and_not_longer(self):
        await choose("extraction", MINI)
        cache = caches[revision.CACHE_ALIAS]
        for look in range(50):
            self.clock.tick(LOOK_S)
            cache.set(self.key, f"forged{look}", timeout=None)
            await model_of(self.service)
        await choose("extraction", GLM)

        waited_s = 0.0
        while await model_of(self.service) != GLM:
            self.clock.tick(0.01)
            waited_s += 0.01
            cache.set(self.key, f"forged at {waited_s}", timeout=None)

        assert waited_s < 0.2

    async def test_two_changes_after_a_quiet_second_are_read_at_once(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        for model in (GLM, SONNET):
            self.clock.tick(1 if model == GLM else LOOK_S)
            await choose("extraction", model)
            self.clock.tick(LOOK_S)

            assert await model_of(self.service) == model

    async def test_the_cache_holds_tokens_and_nothing_else(self):
        await choose("extraction", MINI, on_failure=OnFailure.DEFAULT_MODEL)
        await model_of(self.service)
        await model_of(self.new_service())

        keys = {key for call, key in self.cache.calls if call == "set"}

        assert keys == {self.key, KEY_BEFORE_1_1}
        for value in caches[revision.CACHE_ALIAS].get_many(keys).values():
            assert re.fullmatch("[0-9a-f]{32}", value)


class ReleaseTest(ResolverTestCase):
    """Until release 1.1: what processes before this release set and read goes under its old key."""

    async def test_a_change_announced_by_an_older_process_is_seen_by_the_next_look(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        self.clock.tick(1)
        await by_sql("extraction", GLM)

        caches[revision.CACHE_ALIAS].set(KEY_BEFORE_1_1, uuid.uuid4().hex, timeout=None)
        self.clock.tick(LOOK_S)

        assert await model_of(self.service) == GLM

    async def test_a_change_is_announced_to_older_processes(self):
        cache = caches[revision.CACHE_ALIAS]
        await model_of(self.service)
        before = cache.get(KEY_BEFORE_1_1)

        await choose("extraction", MINI)

        assert before != cache.get(KEY_BEFORE_1_1)
        assert isinstance(cache.get(KEY_BEFORE_1_1), str)

    async def test_after_an_outage_of_the_cache_older_processes_are_told_as_well(self):
        await model_of(self.service)
        self.clock.tick(LOOK_S)
        self.cache.is_down = True
        await model_of(self.service)
        self.cache.is_down = False
        before = caches[revision.CACHE_ALIAS].get(KEY_BEFORE_1_1)
        self.clock.tick(5)

        await model_of(self.service)

        assert before != caches[revision.CACHE_ALIAS].get(KEY_BEFORE_1_1)
