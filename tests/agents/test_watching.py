"""A resolver that watches: it knows of a change before it is asked, and look-ups do not wait."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from agents.model_config import ModelConfigService
from agents.resolving.subscription import Subscription
from agents.snapshot import close_connection, read_snapshot, use_own_connection
from tests.agents.doubles import ResolverTestCase, change_by_sql, choose_model, in_other_thread
from tests.agents.processes import wait_for

MINI, GLM = "openai/gpt-5-mini", "z-ai/glm-4.6"
LOOK_S = 0.0501
WITHIN_S = 20.0  # for what comes within 50 ms, on a busy machine too
TABLES = ("agent_model_config", "agents_overrideversion")

choose = sync_to_async(choose_model)


async def model_of(service: ModelConfigService) -> str | None:
    override = await service.get_override("extraction")
    return override.model_id if override else None


def at_once(answer: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that never suspends.

    Raises:
        AssertionError: it does.
    """
    try:
        answer.send(None)
    except StopIteration as end:
        return end.value
    answer.close()
    raise AssertionError("it waits for something")


def knows_the_latest(service: ModelConfigService) -> bool:
    """Tell whether a resolver has read the latest change; it is not asked, so it does not look."""
    return repr(service) == f"<ModelConfigService {read_snapshot().version}>"


class WatchingTestCase(ResolverTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.alerts: list[str] = []

    def watch(self) -> None:
        """Have the resolver watch, and wait until it has read the overrides."""
        self.service.watch(self.alerts.append)
        self.know()

    def ask(self) -> str | None:
        """Ask after the last look is no longer good, so that the thread looks by itself again."""
        self.clock.tick(LOOK_S)
        return asyncio.run(model_of(self.service))

    def has_queried(self) -> bool:
        """Ask, and tell whether the thread has queried since `trips`."""
        time.sleep(LOOK_S)  # the clock is no faster than time, or the thread would seem to hang
        self.ask()
        return self.database.queries > 0

    def know(self) -> None:
        wait_for(lambda: knows_the_latest(self.service), "the latest change", WITHIN_S)


class PushTest(WatchingTestCase):
    def test_a_change_is_known_before_anybody_asks(self):
        self.watch()
        self.ask()

        for model in (MINI, GLM):
            self.clock.tick(0.2)  # more than the time between two queries
            choose_model("extraction", model)
            self.know()

            assert at_once(model_of(self.service)) == model

    def test_a_look_up_waits_for_nothing_even_if_the_thread_is_a_little_late(self):
        choose_model("extraction", MINI)
        self.watch()
        self.ask()
        self.know()
        self.clock.tick(0.9)

        assert at_once(model_of(self.service)) == MINI

    def test_after_a_pause_of_the_whole_process_it_waits_for_a_look(self):
        """As after SIGSTOP: the clock has moved on, and the thread has not run."""
        choose_model("extraction", MINI)
        self.watch()
        self.ask()
        change_by_sql("extraction", GLM)

        self.clock.tick(70)

        assert asyncio.run(model_of(self.service)) == GLM

    def test_after_a_time_without_look_ups_the_first_one_sees_the_change(self):
        choose_model("extraction", MINI)
        self.watch()
        self.clock.tick(6)
        self.ask()
        self.clock.tick(6)
        self.know()
        choose_model("extraction", GLM)

        assert self.ask() == GLM

    def test_the_table_is_read_ahead_of_time_so_that_nobody_waits_at_60_s(self):
        self.watch()
        self.ask()
        self.trips()

        for _ in range(3):
            self.clock.tick(57.5)
            # Again and again: the thread may have gone to rest between the tick and the first one.
            wait_for(self.has_queried, "the query ahead of time")
            self.trips()

            assert self.service.freshness().age_s < 57

    def test_close_ends_the_watch_and_its_thread(self):
        self.watch()

        self.service.close()

        assert not _resolver_threads()


class TroubleTest(WatchingTestCase):
    def test_it_can_be_closed_at_any_moment(self):
        for _ in range(50):
            service = self.new_service()
            service.watch()
            service.close()

        assert not _resolver_threads()

    def test_a_look_that_fails_unexpectedly_is_made_again_after_a_second(self):
        choose_model("extraction", MINI)
        self.watch()
        self.ask()

        def fail_once() -> None:
            self.database.before_query = lambda: None
            raise ValueError("a value that SQL has bent")

        self.database.before_query = fail_once
        with self.assertLogs("agents.resolving.thread", "ERROR"):
            choose_model("extraction", GLM)
            wait_for(lambda: self.database.before_query is not fail_once, "the failure")
            self.clock.tick(0.5)  # for another query
            self.know()

        assert at_once(model_of(self.service)) == GLM

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_a_thread_that_ended_is_replaced_and_the_operators_are_told(self):
        choose_model("extraction", MINI)
        self.watch()
        self.ask()
        [thread] = _resolver_threads()
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
        )
        wait_for(lambda: not thread.is_alive(), "the end of the thread")
        choose_model("extraction", GLM)
        self.clock.tick(3.1)

        assert asyncio.run(model_of(self.service)) == GLM
        assert ["has ended" in alert for alert in self.alerts] == [True]

    def test_a_thread_that_hangs_is_replaced_and_the_operators_are_told(self):
        hangs, thaw = threading.Event(), threading.Event()
        self.addCleanup(thaw.set)

        def hang_once() -> None:
            self.database.before_query = lambda: None
            hangs.set()
            assert thaw.wait(60)

        choose_model("extraction", MINI)
        self.watch()
        self.ask()
        self.database.before_query = hang_once
        choose_model("extraction", GLM)
        assert hangs.wait(60)
        self.clock.tick(3.1)
        outdated = asyncio.run(self.service.resolve("extraction"))
        self.clock.tick(2)
        current = asyncio.run(self.service.resolve("extraction"))

        assert outdated.freshness.is_stale
        assert not current.freshness.is_stale
        assert current.override is not None
        assert current.override.model_id == GLM
        assert ["could not be read" in alert for alert in self.alerts] == [True]
        thaw.set()
        wait_for(lambda: len(_resolver_threads()) == 1, "the end of the thread that hung")
        assert at_once(model_of(self.service)) == GLM

    def test_no_more_than_three_threads_wait_for_a_database_that_hangs(self):
        thaw = threading.Event()
        self.addCleanup(thaw.set)
        self.watch()
        self.database.before_query = lambda: thaw.wait(60)
        for _ in range(10):
            self.clock.tick(60)
            assert asyncio.run(self.service.resolve("extraction")).freshness.is_stale

        assert len(_resolver_threads()) == 3


@pytest.mark.postgresql
class SubscriptionTest(WatchingTestCase):
    """The clock stands still, so that neither the next look nor the 60 s can tell of a change."""

    def watch(self) -> None:
        super().watch()
        self.wait_until_live()

    def wait_until_live(self) -> None:
        def is_live() -> bool:
            thread = self.service._thread
            self.clock.tick(LOOK_S)
            return thread is not None and thread.subscription.is_live

        wait_for(is_live, "a notification to itself")
        self.clock.tick(1.01)  # a look that relies on it
        self.know()

    def test_a_change_by_sql_is_known_at_once(self):
        choose_model("extraction", MINI)
        self.watch()

        change_by_sql("extraction", GLM)

        self.know()
        assert at_once(model_of(self.service)) == GLM

    def test_a_change_that_is_announced_during_a_look_is_known_at_once_too(self):
        choose_model("extraction", MINI)
        self.watch()
        self.database.once_after_query = lambda: in_other_thread(
            lambda: change_by_sql("extraction", MINI)
        )

        change_by_sql("extraction", GLM)  # its look is overtaken by the change back

        self.know()
        assert at_once(model_of(self.service)) == MINI

    def test_a_connection_that_is_lost_is_noticed_and_replaced(self):
        choose_model("extraction", MINI)
        self.watch()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND query LIKE '%observatory_check_%'"
                "AND pid <> pg_backend_pid()"
            )
        change_by_sql("extraction", GLM)

        self.know()
        self.wait_until_live()
        change_by_sql("extraction", MINI)
        self.know()

    def test_a_change_that_no_notification_told_of_has_it_look_every_50_ms_again(self):
        self.watch()
        self._switch_triggers("DISABLE")
        self.addCleanup(self._switch_triggers, "ENABLE")
        choose_model("extraction", MINI)
        self.clock.tick(1.01)
        self.know()
        asyncio.run(model_of(self.service))

        choose_model("extraction", GLM)
        self.clock.tick(LOOK_S)

        self.know()

    def test_a_notification_to_itself_that_does_not_arrive_is_noticed(self):
        def checked() -> list[bool]:
            use_own_connection()
            subscription, found = Subscription(lambda: self.clock.now), []
            for statement in ("SELECT 1", "UNLISTEN *"):
                with connection.cursor() as cursor:
                    subscription.renew()
                    cursor.execute(statement)
                    self.clock.tick(1.01)
                    subscription.renew()
                    cursor.execute("SELECT 1")
                subscription.receive()
                found.append(subscription.is_live)
            close_connection()
            return found

        assert in_other_thread(checked) == [True, False]

    def test_one_that_has_missed_a_change_is_relied_on_again_after_a_minute(self):
        def checked() -> list[bool]:
            use_own_connection()
            subscription, found = Subscription(lambda: self.clock.now), []
            subscription.renew()
            subscription.distrust()
            for seconds in (0, 59, 2):
                self.clock.tick(seconds)
                subscription.renew()
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
                subscription.receive()
                found.append(subscription.is_live)
            close_connection()
            return found

        assert in_other_thread(checked) == [False, False, True]

    def _switch_triggers(self, switch: str) -> None:
        with connection.cursor() as cursor:
            for table in TABLES:
                cursor.execute(f"ALTER TABLE {table} {switch} TRIGGER ALL")


def _resolver_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("overrides")]
