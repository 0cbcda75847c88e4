"""The resolver's own thread: no other lock delays it, it can be closed, it survives a fork."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction

from agents.models import OverrideVersion
from tests import canaries
from tests.agents.doubles import ResolverTestCase, change_by_sql, choose_model
from tests.agents.processes import ROOT, environment

MINI, GLM = "openai/gpt-5-mini", "z-ai/glm-4.6"

choose = sync_to_async(choose_model)


class OrmThreadTest(ResolverTestCase):
    async def test_a_lock_held_on_the_orms_thread_delays_no_look_up(self):
        """The look-up comes back while the ORM's one thread still holds its write lock."""
        await choose("extraction", MINI)
        is_held, may_end = threading.Event(), threading.Event()

        def hold_a_write_lock() -> None:
            with transaction.atomic():  # BEGIN IMMEDIATE on SQLite
                OverrideVersion.objects.filter(pk=1).update(n=1)
                is_held.set()
                assert may_end.wait(20)

        holding = asyncio.create_task(sync_to_async(hold_a_write_lock)())
        while not is_held.is_set():  # noqa: ASYNC110 - a threading.Event
            await asyncio.sleep(0)

        override = await self.service.get_override("extraction")
        was_still_held = not holding.done()
        may_end.set()
        await holding

        assert override is not None
        assert override.model_id == MINI
        assert was_still_held

    async def test_a_lock_held_by_another_process_delays_none_either(self):
        await choose("extraction", MINI)
        await self.service.get_all()
        self.clock.tick(60)
        is_held, may_end = threading.Event(), threading.Event()

        def hold_a_row_lock() -> None:
            with transaction.atomic():
                choose_model("extraction", GLM)
                is_held.set()
                assert may_end.wait(20)
            connection.close()

        holder = threading.Thread(target=hold_a_row_lock)
        holder.start()
        assert await asyncio.to_thread(is_held.wait, 20)

        override = await self.service.get_override("extraction")
        was_still_held = holder.is_alive()
        may_end.set()
        await asyncio.to_thread(holder.join, 20)

        assert override is not None
        assert (override.model_id, was_still_held) == (MINI, True)

    @pytest.mark.postgresql
    async def test_a_locked_table_is_an_outage_that_ends_with_the_lock(self):
        await choose("extraction", MINI)
        await self.service.get_all()
        self.clock.tick(60)
        is_held, may_end = threading.Event(), threading.Event()

        def hold_the_table() -> None:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("LOCK TABLE agent_model_config IN ACCESS EXCLUSIVE MODE")
                is_held.set()
                assert may_end.wait(20)
            change_by_sql("extraction", GLM)
            connection.close()

        holder = threading.Thread(target=hold_the_table)
        holder.start()
        assert await asyncio.to_thread(is_held.wait, 20)

        during = await self.service.resolve("extraction")
        may_end.set()
        await asyncio.to_thread(holder.join, 20)
        self.clock.tick(1.01)
        after = await self.service.resolve("extraction")

        assert during.override is not None
        assert (during.override.model_id, during.freshness.is_stale) == (MINI, True)
        assert after.override is not None
        assert (after.override.model_id, after.freshness.is_stale) == (GLM, False)


class LifeTest(ResolverTestCase):
    async def test_nothing_is_started_before_the_first_look_up(self):
        before = threading.active_count()

        self.new_service()

        assert threading.active_count() == before

    async def test_close_ends_the_thread_and_a_later_look_up_starts_another(self):
        await choose("extraction", MINI)
        await self.service.get_all()
        assert _resolver_threads()

        self.service.close()
        self.service.close()
        assert not _resolver_threads()
        await choose("extraction", GLM)
        self.clock.tick(0.0501)

        override = await self.service.get_override("extraction")
        assert override is not None
        assert override.model_id == GLM

    def test_one_service_serves_one_event_loop_after_another(self):
        choose_model("extraction", MINI)

        for _ in range(3):
            override = asyncio.run(self.service.get_override("extraction"))
            self.clock.tick(60)

            assert override is not None
            assert override.model_id == MINI

    async def test_its_repr_shows_the_version_and_no_key(self):
        assert repr(self.service) == "<ModelConfigService never read>"
        await self.service.get_all()

        assert "v0·" in repr(self.service)
        assert canaries.SHARED_KEY not in f"{self.service!r} {vars(self.service)}"


class ForkTest(ResolverTestCase):
    def test_parent_and_child_both_go_on_after_a_fork(self):
        self._fork()

    def test_so_do_those_that_watch(self):
        self._fork("--watching")

    def _fork(self, *options: str) -> None:
        choose_model("extraction", MINI)

        script = subprocess.run(
            [sys.executable, "-m", "tests.agents.forking", *options],
            env=environment(),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )

        assert script.returncode == 0, script.stderr
        assert script.stdout.splitlines() == [
            f"before: {MINI}",
            f"child: {GLM}",
            f"parent: {GLM}",
            f"parent again: {MINI}",
        ]


def _resolver_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("overrides")]
