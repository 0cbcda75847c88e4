"""Several real processes at once: one saves as admin does, the others resolve all the while."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import pytest
from django.test import SimpleTestCase, TransactionTestCase

from tests.agents.processes import (
    Resolving,
    Saving,
    environment,
    family,
    migrate,
    wait_for,
)
from tests.servers import RedisServer, Server, postgres, redis_server

MINI, GLM, SONNET = "openai/gpt-5-mini", "z-ai/glm-4.6", "anthropic/claude-sonnet-4.5"
PROMISED_S = 1.0  # "in practice": the middle one of many, since a process may not have run at all


def arrived(others: Sequence[Resolving], model: str | None) -> None:
    wait_for(
        lambda: all(o.lines and (o.last.model, o.last.error) == (model, "") for o in others),
        f"{model} in every process, there are {[other.models for other in others]}",
    )


def assert_never_backwards(others: Sequence[Resolving]) -> None:
    for other in others:
        counters = [seen.counter for seen in other.seen if seen.version]
        assert counters == sorted(counters), other.seen


class ConvergenceTest(TransactionTestCase):
    """On the suite's own database and cache: SQLite and files, or PostgreSQL and Redis."""

    def test_every_change_arrives_in_every_process_and_none_is_taken_back(self):
        delays: list[float] = []
        expected: list[str | None] = [None]
        with family(environment(), resolving=2) as (saving, others):
            for number in range(20):
                model = f"openai/gpt-{number}"
                saved_at = saving.upsert(model)
                arrived(others, model)
                delays += [other.last.at - saved_at for other in others]
                expected.append(model)
            late = Resolving(environment())
            try:
                arrived([late], expected[-1])
                assert late.seen[0].version == others[0].last.version
                saving.deactivate()
                arrived([late, *others], None)
            finally:
                late.end()

            assert [other.models for other in others] == [[*expected, None]] * 2
            assert late.models == [expected[-1], None]
            assert_never_backwards(others)
            assert not any(seen.is_stale for other in others for seen in other.seen)
        delays.sort()
        assert delays[len(delays) // 2] < PROMISED_S, delays

    def test_only_what_was_committed_shows_and_the_last_of_many_changes_wins(self):
        with family(environment(), resolving=2) as (saving, others):
            saving.upsert(MINI)
            arrived(others, MINI)
            for _ in range(3):
                saving.roll_back(GLM)
            saving.upsert(SONNET)
            arrived(others, SONNET)
            assert [other.models for other in others] == [[None, MINI, SONNET]] * 2

            for number in range(30):
                saving.upsert(f"openai/gpt-{number}")
            saving.upsert(MINI)

            arrived(others, MINI)
            assert_never_backwards(others)


class RedisFaultTest(TransactionTestCase):
    """A Redis of the test's own, so that it can be broken; the database is the suite's."""

    def test_changes_arrive_whatever_happens_to_redis(self):
        with (
            redis_server() as cache,
            family(environment(CACHE_URL=cache.url), resolving=2) as (saving, others),
        ):
            saving.upsert(MINI)
            arrived(others, MINI)

            self._flushed(cache, saving, others)
            self._poisoned(cache, saving, others)
            self._frozen(cache, saving, others)
            self._killed_and_restarted(cache, saving, others)

            for other in others:
                assert None not in other.models[1:]  # never "no overrides" again
                assert not any(seen.is_stale for seen in other.seen)
            assert_never_backwards(others)

    def _flushed(self, cache: RedisServer, saving: Saving, others: list[Resolving]) -> None:
        with cache.client() as client:
            client.flushall()
        saving.upsert(GLM)
        arrived(others, GLM)

    def _poisoned(self, cache: RedisServer, saving: Saving, others: list[Resolving]) -> None:
        with cache.client() as client:
            for key in client.keys("*"):
                client.set(key, b"\x80\x04garbage")
        saving.upsert(MINI)
        arrived(others, MINI)
        with cache.client() as client:
            for key in client.keys("*"):
                client.delete(key)
                client.rpush(key, "a list")
        saving.upsert(GLM)
        arrived(others, GLM)

    def _frozen(self, cache: RedisServer, saving: Saving, others: list[Resolving]) -> None:
        cache.freeze()
        try:
            saving.upsert(SONNET)
            arrived(others, SONNET)
        finally:
            cache.thaw()
        saving.upsert(MINI)
        arrived(others, MINI)

    def _killed_and_restarted(
        self, cache: RedisServer, saving: Saving, others: list[Resolving]
    ) -> None:
        cache.kill()
        saving.upsert(GLM)
        arrived(others, GLM)
        cache.start()
        saving.upsert(SONNET)
        arrived(others, SONNET)


@pytest.mark.postgresql
class DatabaseFaultTest(SimpleTestCase):
    """A PostgreSQL of the test's own, so that it can be broken, and a cache of files."""

    def test_processes_outlive_every_outage_of_postgresql(self):
        with postgres() as database, tempfile.TemporaryDirectory() as folder:
            env = environment(DATABASE_URL=database.url, CACHE_URL=f"file://{folder}/cache")
            migrate(env)
            database.stop()
            with family(env, resolving=2, ttl_s=1.0) as (saving, others):
                assert [other.seen[0].error for other in others] == ["unknown", "unknown"]
                database.start()
                arrived(others, None)
                saving.upsert(MINI)
                arrived(others, MINI)

                self._stopped(database, others)
                saving.upsert(GLM)
                arrived(others, GLM)
                self._frozen(database, others)
                saving.upsert(SONNET)
                arrived(others, SONNET)

                wait_for(lambda: not any(o.last.is_stale for o in others), "the end of the outage")
                assert [other.models for other in others] == [[None, MINI, GLM, SONNET]] * 2
                assert_never_backwards(others)

    def _stopped(self, database: Server, others: list[Resolving]) -> None:
        database.stop()
        _all_stale(others)
        database.start()

    def _frozen(self, database: Server, others: list[Resolving]) -> None:
        database.freeze()
        _all_stale(others)
        database.thaw()


def _all_stale(others: list[Resolving]) -> None:
    wait_for(lambda: all(other.last.is_stale for other in others), "every process to be stale")
