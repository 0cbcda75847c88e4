"""Cache down, database down, both: same model, same payer, said once, and back alone."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import caches

from agents import revision
from agents.llm.base import Payer
from agents.model_config import ModelConfigService, OverridesUnknown
from tests.agents.doubles import (
    KEY,
    KEY_BEFORE_1_1,
    ResolverTestCase,
    change_by_sql,
    choose_model,
)

MINI, GLM = "openai/gpt-5-mini", "z-ai/glm-4.6"
LOOK_S = 0.0501
DATABASE_LOOK_S = 1.01
LOGGER = "agents.resolving.refresher"

choose = sync_to_async(choose_model)
by_sql = sync_to_async(change_by_sql)


async def model_of(service: ModelConfigService, agent: str = "extraction") -> str | None:
    override = await service.get_override(agent)
    return override.model_id if override else None


class CacheDownTest(ResolverTestCase):
    async def test_the_database_is_asked_instead(self):
        await choose("extraction", MINI)
        self.cache.is_down = True

        with self.assertLogs(LOGGER, "WARNING"):
            assert await model_of(self.service) == MINI

        assert not (await self.service.resolve("extraction")).freshness.is_stale

    async def test_the_database_is_asked_at_most_once_a_second(self):
        await choose("extraction", MINI)
        self.cache.is_down = True
        await model_of(self.service)
        self.trips()

        for _ in range(100):  # ten seconds
            self.clock.tick(0.1)
            await model_of(self.service)

        assert 5 <= self.database.queries <= 10

    async def test_a_change_is_in_effect_within_two_seconds(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        self.cache.is_down = True
        self.clock.tick(LOOK_S)
        await model_of(self.service)

        with self.assertLogs("django.db.backends.base", "ERROR"):  # the announcement
            await choose("extraction", GLM)
        self.clock.tick(2)

        assert await model_of(self.service) == GLM

    async def test_a_cache_that_hangs_is_tried_every_five_seconds_only(self):
        self.cache.is_down = True
        await model_of(self.service)
        self.trips()

        for _ in range(49):
            self.clock.tick(0.1)
            await model_of(self.service)
        assert self.cache.calls == []
        self.clock.tick(0.11)
        await model_of(self.service)

        assert len(self.cache.calls) == 1

    async def test_it_is_used_again_five_seconds_after_it_came_back(self):
        await choose("extraction", MINI)
        self.cache.is_down = True
        await model_of(self.service)

        self.cache.is_down = False
        self.clock.tick(5)
        await model_of(self.service)
        self.trips()
        self.clock.tick(LOOK_S)
        await model_of(self.service)

        assert self.trips() == (0, 2)

    async def test_what_was_saved_while_it_was_away_reaches_every_process_when_it_is_back(self):
        idle = self.new_service()
        await choose("extraction", MINI)
        assert await model_of(self.service) == await model_of(idle) == MINI
        self.clock.tick(LOOK_S)
        self.cache.is_down = True
        await model_of(self.service)  # notices; the idle process does not
        with self.assertLogs("django.db.backends.base", "ERROR"):
            await choose("extraction", GLM)

        self.cache.is_down = False
        self.clock.tick(5)
        await model_of(self.service)
        self.clock.tick(LOOK_S)

        assert await model_of(self.service) == await model_of(idle) == GLM

    async def test_going_down_and_coming_back_are_said_once_each(self):
        with self.assertLogs(LOGGER, "INFO") as said:
            self.cache.is_down = True
            for _ in range(30):
                await model_of(self.service)
                self.clock.tick(1)
            self.cache.is_down = False
            for _ in range(10):
                await model_of(self.service)
                self.clock.tick(1)

        lines = [record.getMessage() for record in said.records]
        assert len(lines) == 2
        assert "does not answer" in lines[0]
        assert "answers again" in lines[1]

    async def test_a_cache_that_fails_between_two_calls_costs_no_answer(self):
        await choose("extraction", MINI)
        calls = [(call, key) for call in ("get", "set") for key in (KEY, KEY_BEFORE_1_1)]
        for call, key in calls:
            with self.subTest(call=call, key=key):
                self.cache.is_down = False
                caches[revision.CACHE_ALIAS].clear()
                service = self.new_service()
                self.cache.once_before(call, key, self._go_down)

                assert await model_of(service) == MINI

    def _go_down(self) -> None:
        self.cache.is_down = True


class DatabaseDownTest(ResolverTestCase):
    async def test_the_last_snapshot_stays_in_force_and_is_marked_stale(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        self.database.is_down = True

        for minutes in range(1, 60):
            self.clock.tick(60)
            resolution = await self.service.resolve("extraction")
            assert resolution.override is not None
            assert resolution.override.model_id == MINI
            assert resolution.provider is not None
            assert resolution.provider.payer == Payer.SHARED
            assert resolution.freshness.is_stale
            assert resolution.freshness.age_s >= 60 * minutes

    async def test_an_agent_without_an_override_keeps_its_default(self):
        await model_of(self.service)
        self.database.is_down = True
        self.clock.tick(60)

        assert await self.service.get_override("extraction") is None

    async def test_it_never_falls_to_no_overrides(self):
        """That would move the call to another person's key."""
        await choose("extraction", MINI)
        await model_of(self.service)
        self.database.is_down = True
        self.cache.is_down = True

        for _ in range(500):
            self.clock.tick(7)
            assert await model_of(self.service) == MINI

    async def test_it_is_asked_at_most_once_a_second(self):
        await model_of(self.service)
        self.database.is_down = True
        self.clock.tick(60)
        await model_of(self.service)
        self.trips()

        for _ in range(99):
            self.clock.tick(0.1)
            await model_of(self.service)

        assert self.database.queries <= 10 * 2  # each look tries a second, fresh connection

    async def test_an_outage_is_logged_once_and_its_end_once(self):
        await model_of(self.service)
        with self.assertLogs(LOGGER, "INFO") as said:
            self.database.is_down = True
            for _ in range(100):
                self.clock.tick(60)
                await model_of(self.service)
            self.database.is_down = False
            for _ in range(5):
                self.clock.tick(2)
                await model_of(self.service)

        assert [record.levelno for record in said.records] == [logging.ERROR, logging.INFO]

    async def test_it_recovers_alone_within_a_second(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        self.database.is_down = True
        self.clock.tick(60)
        assert (await self.service.resolve("extraction")).freshness.is_stale
        await by_sql("extraction", GLM)

        self.database.is_down = False
        self.clock.tick(DATABASE_LOOK_S)

        resolution = await self.service.resolve("extraction")
        assert resolution.override is not None
        assert resolution.override.model_id == GLM
        assert not resolution.freshness.is_stale

    async def test_within_its_60_s_an_unchanged_snapshot_is_not_stale(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        self.database.is_down = True

        self.clock.tick(30)

        assert not (await self.service.resolve("extraction")).freshness.is_stale

    async def test_a_change_that_cannot_be_read_makes_it_stale_at_once(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        await choose("extraction", GLM)
        self.database.is_down = True

        self.clock.tick(LOOK_S)

        resolution = await self.service.resolve("extraction")
        assert resolution.override is not None
        assert (resolution.override.model_id, resolution.freshness.is_stale) == (MINI, True)

    async def test_a_connection_that_died_while_idle_is_no_outage(self):
        """The database restarted overnight; the first look-up of the day must see the change."""
        await choose("extraction", MINI)
        await model_of(self.service)
        await choose("extraction", GLM)
        self.database.fail_once = True

        self.clock.tick(8 * 3600)

        resolution = await self.service.resolve("extraction")
        assert resolution.override is not None
        assert (resolution.override.model_id, resolution.freshness.is_stale) == (GLM, False)


class DatabaseHangsTest(ResolverTestCase):
    """Connected but silent: a frozen server, or a network that swallows every packet."""

    def setUp(self) -> None:
        super().setUp()
        self.thaw = threading.Event()
        self.addCleanup(self.thaw.set)  # before the resolvers are closed

    async def test_look_ups_keep_the_last_snapshot_after_three_seconds(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        waiting = await self._look_up_that_hangs(self.service)

        self.clock.tick(3)
        resolution = await self.service.resolve("extraction")

        assert resolution.override is not None
        assert (resolution.override.model_id, resolution.freshness.is_stale) == (MINI, True)
        assert (await asyncio.to_thread(self.service.freshness)).is_stale
        self.thaw.set()
        assert await waiting == MINI

    async def test_they_see_the_change_once_the_database_answers(self):
        await choose("extraction", MINI)
        await model_of(self.service)
        await by_sql("extraction", GLM)
        waiting = await self._look_up_that_hangs(self.service)
        with self.assertLogs(LOGGER, "INFO") as said:
            for _ in range(5):
                self.clock.tick(3)
                assert await model_of(self.service) == MINI

            self.thaw.set()
            await waiting
            async with asyncio.timeout(20):
                while await model_of(self.service) != GLM:  # by the thread that replaced it
                    # No faster than time itself, or that thread would seem to hang, too.
                    await asyncio.sleep(LOOK_S)
                    self.clock.tick(LOOK_S)
        assert [record.levelno for record in said.records] == [logging.ERROR, logging.INFO]
        assert not (await self.service.resolve("extraction")).freshness.is_stale

    async def test_a_process_that_never_saw_the_overrides_is_told_so(self):
        waiting = await self._look_up_that_hangs(self.service)

        self.clock.tick(3)
        with pytest.raises(OverridesUnknown):
            await model_of(self.service)

        self.thaw.set()
        assert await waiting is None

    async def _look_up_that_hangs(self, service: ModelConfigService) -> asyncio.Task[str | None]:
        hangs = threading.Event()

        def hang() -> None:
            hangs.set()
            self.thaw.wait(20)

        self.database.before_query = hang
        self.clock.tick(60)
        task = asyncio.create_task(model_of(service))
        assert await asyncio.to_thread(hangs.wait, 20)
        return task


class ColdStartTest(ResolverTestCase):
    async def test_a_process_that_never_saw_the_overrides_says_so(self):
        await choose("extraction", MINI)
        self.database.is_down = self.cache.is_down = True

        for ask in (self.service.get_override, self.service.get_provider_for_agent):
            with self.subTest(ask.__name__), pytest.raises(OverridesUnknown):
                await ask("extraction")
        with pytest.raises(OverridesUnknown):
            await self.service.get_all()
        with pytest.raises(OverridesUnknown):
            await asyncio.to_thread(self.service.freshness)

    async def test_it_recovers_when_the_database_is_back(self):
        await choose("extraction", MINI)
        self.database.is_down = self.cache.is_down = True
        with pytest.raises(OverridesUnknown):
            await model_of(self.service)

        self.database.is_down = False

        assert await model_of(self.service) == MINI

    async def test_every_waiting_look_up_is_told(self):
        self.database.is_down = self.cache.is_down = True

        answers = await asyncio.gather(
            *(model_of(self.service) for _ in range(20)), return_exceptions=True
        )

        assert {type(answer) for answer in answers} == {OverridesUnknown}
