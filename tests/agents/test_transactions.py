"""A change is seen after its commit and never before, and versions follow the commits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from django.core.cache import caches
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from agents import revision
from agents.database_identity import read_identity
from agents.models import AgentModelConfig, OverrideVersion
from agents.snapshot import read_snapshot
from tests.agents.doubles import (
    KEY_BEFORE_1_1,
    ResolverTestCase,
    change_by_sql,
    choose_model,
    in_other_thread,
)

DEADLINE_S = 60.0


def version_elsewhere() -> str:
    """Return the version that another connection sees."""
    return in_other_thread(lambda: read_snapshot().version)


class TransactionTest(ResolverTestCase):
    def test_a_change_is_announced_once_committed(self):
        before = revision.current_token(read_identity())

        with transaction.atomic():
            choose_model("extraction", "openai/gpt-5-mini")
            assert revision.current_token(read_identity()) == before

        assert revision.current_token(read_identity()) != before

    def test_a_change_not_yet_committed_is_seen_by_nobody_else(self):
        choose_model("extraction", "openai/gpt-5-mini")
        before = version_elsewhere()

        with transaction.atomic():
            choose_model("extraction", "z-ai/glm-4.6")
            assert version_elsewhere() == before

        assert version_elsewhere() != before

    def test_a_change_that_is_rolled_back_leaves_no_trace(self):
        choose_model("extraction", "openai/gpt-5-mini")
        token, before = revision.current_token(read_identity()), read_snapshot()

        with transaction.atomic():
            choose_model("extraction", "z-ai/glm-4.6")
            AgentModelConfig.objects.deactivate("extraction")
            transaction.set_rollback(True)

        after = read_snapshot()
        assert (after.version, after.overrides) == (before.version, before.overrides)
        assert revision.current_token(read_identity()) == token
        assert AgentModelConfig.history.count() == 1

    def test_a_rolled_back_savepoint_announces_nothing_of_its_own(self):
        with transaction.atomic():
            choose_model("extraction", "openai/gpt-5-mini")
            with transaction.atomic():
                choose_model("extraction", "z-ai/glm-4.6")
                transaction.set_rollback(True)

        snapshot = read_snapshot()
        assert snapshot.overrides["extraction"].model_id == "openai/gpt-5-mini"
        assert snapshot.version.startswith("v1·")

    def test_a_cache_that_is_down_does_not_fail_a_save(self):
        self.cache.is_down = True

        with self.assertLogs("django.db.backends.base", "ERROR"):
            choose_model("extraction", "openai/gpt-5-mini")

        assert read_snapshot().overrides["extraction"].model_id == "openai/gpt-5-mini"

    def test_a_validation_error_announces_nothing(self):
        token = revision.current_token(read_identity())

        with pytest.raises(ValidationError):
            choose_model("extraction", "no slash")

        assert revision.current_token(read_identity()) == token
        assert not OverrideVersion.objects.filter(n__gt=0).exists()

    def test_the_digest_tells_sql_from_what_the_counter_knows(self):
        choose_model("extraction", "openai/gpt-5-mini")
        before = read_snapshot().version

        change_by_sql("extraction", "z-ai/glm-4.6")

        counter, digest = read_snapshot().version.split("·")
        assert counter == before.split("·")[0] == "v1"
        assert digest != before.split("·")[1]

    def test_the_token_lasts_for_ever(self):
        revision.announce_change()

        cache = caches[revision.CACHE_ALIAS]
        expiries = getattr(cache, "_expire_info", {})

        assert [expiries[cache.make_key(key)] for key in (self.key, KEY_BEFORE_1_1)] == [None, None]

    def test_rows_and_counter_come_from_one_statement(self):
        choose_model("extraction", "openai/gpt-5-mini")

        with self.assertNumQueries(1):
            snapshot = read_snapshot()

        assert snapshot.version.startswith("v1·")

    def test_a_database_without_any_change_reads_as_version_nought(self):
        snapshot = read_snapshot()

        assert snapshot.version.startswith("v0·")
        assert snapshot.overrides == {}


@pytest.mark.postgresql
class OverlappingTransactionsTest(ResolverTestCase):
    """Two real connections at once; SQLite lets one writer in at a time anyway."""

    def test_the_later_commit_has_the_higher_version(self):
        versions: list[int] = []
        first_has_written, first_may_commit = threading.Event(), threading.Event()

        def first() -> None:
            with transaction.atomic():
                row = choose_model("extraction", "openai/gpt-5-mini")
                first_has_written.set()
                assert first_may_commit.wait(DEADLINE_S)
            versions.append(row.version)

        def second() -> None:
            versions.append(choose_model("trainer", "openai/gpt-5-mini").version)

        with ThreadPoolExecutor() as executor:
            writing = [executor.submit(_closing, first)]
            assert first_has_written.wait(DEADLINE_S)
            writing.append(executor.submit(_closing, second))
            _wait_for_a_blocked_backend()
            first_may_commit.set()
            for write in writing:
                write.result(DEADLINE_S)

        assert versions == [1, 2]

    def test_many_writers_get_a_version_each(self):
        agents = [f"agent{number}" for number in range(6)]
        barrier = threading.Barrier(len(agents))

        def write(agent: str) -> None:
            barrier.wait(DEADLINE_S)
            for model in ("openai/gpt-5-mini", "z-ai/glm-4.6", "a/b"):
                choose_model(agent, model)

        with ThreadPoolExecutor(len(agents)) as executor:
            writing = [executor.submit(_closing, partial(write, agent)) for agent in agents]
            for writer in writing:
                writer.result(DEADLINE_S)

        versions = sorted(AgentModelConfig.history.values_list("version", flat=True))
        assert versions == list(range(1, 19))
        assert read_snapshot().version.startswith("v18·")

    def test_two_transactions_may_set_the_same_new_agent(self):
        barrier = threading.Barrier(2)

        def write(model: str) -> None:
            barrier.wait(DEADLINE_S)
            choose_model("extraction", model)

        models = ["openai/gpt-5-mini", "z-ai/glm-4.6"]
        with ThreadPoolExecutor(2) as executor:
            writing = [executor.submit(_closing, partial(write, model)) for model in models]
            for writer in writing:
                writer.result(DEADLINE_S)

        [row] = AgentModelConfig.objects.all()
        last = AgentModelConfig.history.order_by("-version").first()
        assert (row.version, row.model_id) == (2, last.model_id)


def _closing(act: Callable[[], None]) -> None:
    try:
        act()
    finally:
        connection.close()


def _wait_for_a_blocked_backend() -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.02)
    raise AssertionError("the second writer did not wait for the first")
