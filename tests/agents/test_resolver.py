"""The resolver on a clock of the test's: what a look-up costs, and how old an answer may be."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import caches

from agents import revision
from agents.llm.base import Purse
from agents.model_config import ModelConfigService
from agents.models import AgentModelConfig, OnFailure
from agents.snapshot import read_snapshot
from tests.agents.doubles import (
    SNAPSHOT,
    TOKEN,
    ResolverTestCase,
    change_by_sql,
    choose_model,
    in_other_thread,
)

MINI, GLM, SONNET = "openai/gpt-5-mini", "z-ai/glm-4.6", "anthropic/claude-sonnet-4.5"
LOOK_S = 0.0501  # a little more than the resolver waits between two looks at the cache

choose = sync_to_async(choose_model)
by_sql = sync_to_async(change_by_sql)
deactivate = sync_to_async(AgentModelConfig.objects.deactivate)


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

    async def test_the_provider_is_openrouter_on_the_shared_purse(self):
        await choose("extraction", SONNET)

        provider = await self.service.get_provider_for_agent("extraction")

        assert provider is not None
        assert (provider.name, provider.model_id) == ("openrouter", SONNET)
        assert provider.purse == Purse.SHARED

    async def test_without_a_shared_key_every_agent_keeps_its_default(self):
        await choose("extraction", SONNET)
        for key in (None, ""):
            with self.subTest(key):
                service = self.new_service(shared_key=key)

                choice = await service.choose("extraction")

                assert choice.provider is None
                assert choice.override is not None  # so that the record can say why

    async def test_a_choice_comes_with_the_evidence_of_its_snapshot(self):
        await choose("extraction", SONNET)
        await self.service.get_all()
        self.clock.tick(0.02)

        reading = (await self.service.choose("extraction")).reading

        expected = await sync_to_async(lambda: read_snapshot(0.0).version)()
        assert reading.version == expected
        assert round(reading.age_s, 6) == 0.02
        assert not reading.is_stale

    def test_a_thread_without_an_event_loop_can_read_too(self):
        choose_model("extraction", SONNET)

        assert self.service.read().version == read_snapshot(0.0).version


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

        assert self.cache.calls == [("get", TOKEN)]
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
            versions.add(self.service.read().version)

        threads = [threading.Thread(target=read) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join, 20)

        assert len(versions) == 1
        assert self.database.queries == 1

    async def test_a_second_process_takes_the_snapshot_from_the_cache(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        self.trips()

        assert await model_of(self.new_service()) == MINI

        assert self.database.queries == 0

    async def test_a_look_up_that_is_cancelled_does_not_cancel_the_others(self):
        await choose("extraction", MINI)
        in_query, may_go_on = threading.Event(), threading.Event()

        def pause() -> None:
            in_query.set()
            may_go_on.wait(20)

        self.cache.once_before("set", SNAPSHOT, pause)

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

    async def test_a_snapshot_taken_over_at_59_s_has_one_second_left(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        await by_sql("extraction", GLM)
        self.clock.tick(59)
        second = self.new_service()

        assert await model_of(second) == MINI
        assert (await self._age(second)) == 59
        self.clock.tick(0.99)
        assert await model_of(second) == MINI
        self.clock.tick(0.02)

        assert await model_of(second) == GLM

    async def test_a_snapshot_of_60_s_is_not_taken_over(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        await by_sql("extraction", GLM)
        self.clock.tick(60)

        assert await model_of(self.new_service()) == GLM

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

    async def test_wall_clocks_that_jump_do_not_stretch_the_bound(self):
        for jump_s in (3600, -3600, 24 * 3600, -24 * 3600):
            with self.subTest(jump_s=jump_s):
                await choose("extraction", MINI)
                self.clock.tick(LOOK_S)
                await model_of(self.service)
                await by_sql("extraction", GLM)
                self.clock.wall += jump_s

                self.clock.tick(59)
                assert await model_of(self.service) == MINI
                self.clock.tick(1.01)
                assert await model_of(self.service) == GLM
                assert await model_of(self.new_service()) == GLM

    async def test_a_process_that_starts_after_a_jump_reads_the_database(self):
        for jump_s in (3600, -3600, 24 * 3600, -24 * 3600):
            with self.subTest(jump_s=jump_s):
                await choose("extraction", MINI)
                await model_of(self.new_service())
                await by_sql("extraction", GLM)
                self.clock.wall += jump_s

                assert await model_of(self.new_service()) == GLM

    async def test_a_change_after_a_jump_is_seen_at_once(self):
        for jump_s in (3600, -3600, 24 * 3600, -24 * 3600):
            with self.subTest(jump_s=jump_s):
                second = self.new_service()
                await choose("extraction", MINI)
                self.clock.tick(LOOK_S)
                assert await model_of(self.service) == await model_of(second) == MINI
                self.clock.wall += jump_s

                await choose("extraction", GLM)
                self.clock.tick(LOOK_S)

                assert await model_of(self.service) == await model_of(second) == GLM

    async def _age(self, service: ModelConfigService) -> float:
        return round((await service.choose("extraction")).reading.age_s, 6)


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

    async def test_a_poisoned_token_is_replaced_and_the_database_asked(self):
        for poison in (0, None, ["a"], {"a": 1}, b"bytes", 1.5, True):
            with self.subTest(poison=poison):
                await choose("extraction", MINI)
                self.clock.tick(LOOK_S)
                await model_of(self.service)
                await by_sql("extraction", GLM)

                caches[revision.CACHE_ALIAS].set(TOKEN, poison, timeout=None)
                self.clock.tick(LOOK_S)

                assert await model_of(self.service) == GLM
                assert isinstance(caches[revision.CACHE_ALIAS].get(TOKEN), str)

    async def test_a_poisoned_snapshot_is_not_believed(self):
        good = {"version": "v9·dead", "queried_at": self.clock.wall, "rows": []}
        row = {"agent_name": "extraction", "model_id": GLM}
        times: list[object] = ["x", None, [], {}, -1, float("inf"), float("nan"), int("9" * 400)]
        tables: list[object] = [None, 1, "ab", [1], [{}], [row]]
        poisons: list[object] = [
            *(None, 0, "", "no json", "[]", "{}", "null", "0", b"{}", [], {"rows": []}),
            *("[" * 100_000, json.dumps(good)[:-1]),
            *(json.dumps({**good, "queried_at": when}) for when in times),
            *(json.dumps({**good, "rows": rows}) for rows in tables),
            json.dumps({**good, "queried_at": self.clock.wall + 3600}),
        ]
        for number, poison in enumerate(poisons):
            with self.subTest(number=number, poison=str(poison)[:60]):
                await choose("extraction", MINI)
                token = revision.current_token()
                caches[revision.CACHE_ALIAS].set(SNAPSHOT + token, poison)

                assert await model_of(self.new_service()) == MINI

    async def test_a_slow_reader_stores_what_it_read_where_nobody_looks(self):
        """The race that delete-the-key-on-save loses: read, save, announce, then store."""
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
            "get", SNAPSHOT, lambda: in_other_thread(lambda: choose_model("extraction", GLM))
        )

        assert await model_of(self.service) == GLM
        self.clock.tick(LOOK_S)
        assert await model_of(self.service) == GLM

    async def test_an_announcement_that_overtakes_minting_is_not_lost(self):
        await choose("extraction", MINI)
        caches[revision.CACHE_ALIAS].clear()
        self.cache.once_before(
            "set", TOKEN, lambda: in_other_thread(lambda: choose_model("extraction", GLM))
        )
        second = self.new_service()

        assert await model_of(self.service) == GLM
        assert await model_of(second) == GLM

    async def test_a_cache_that_comes_back_with_the_past_takes_nobody_there(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        cache = caches[revision.CACHE_ALIAS]
        old_token = cache.get(TOKEN)
        old_snapshot = cache.get(SNAPSHOT + old_token)
        self.clock.tick(1)
        await choose("extraction", GLM)
        assert await model_of(self.service) == GLM
        before = (await self.service.choose("extraction")).reading.version

        cache.clear()
        cache.set(TOKEN, old_token, timeout=None)
        cache.set(SNAPSHOT + old_token, old_snapshot)
        self.clock.tick(LOOK_S)

        assert await model_of(self.service) == GLM
        assert (await self.service.choose("extraction")).reading.version == before
