"""What the probes say: each part in order, and each part failing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from django.db import connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.test import SimpleTestCase, TransactionTestCase, override_settings
from django.utils import timezone

from agents.models import ResolverProcess
from pipeline.models import Poller, Task, TelegramUpdate
from pipeline.models.inbox import TaskKind, TaskStatus
from pipeline.queue.task_store import TaskStore
from tests.agents.doubles import script

PRODUCTION = {
    "ALLOWED_HOSTS": ["observatory.example.com"],
    "DEBUG": False,
    "SECURE_SSL_REDIRECT": True,
}
HOSTS = ("", "127.0.0.1:8000", "evil.example.com", "no host at all !/\\", "x" * 300)


def ago(seconds: float) -> Any:
    return timezone.now() - timedelta(seconds=seconds)


def task(number: int = 1, *, age_s: float = 0.0, **fields: Any) -> Task:
    update = TelegramUpdate.objects.create(bot_id=1, update_id=number, kind="message", raw="{}")
    fields = {"kind": TaskKind.MESSAGE, "lane": "chat:1", "created_at": ago(age_s)} | fields
    return Task.objects.create(update=update, **fields)


def in_hand(number: int, lease_s: float, **fields: Any) -> Task:
    """A task whose worker's lease ends in so many seconds."""
    lease = {"token": uuid4(), "worker": "w", "delivery_count": 1, "lease_until": ago(-lease_s)}
    return task(number, **({"status": TaskStatus.RUNNING} | lease | fields))


def heard(seconds_ago: float, trouble: str = "", bot_id: int = 1) -> None:
    Poller.objects.create(bot_id=bot_id, heard_at=ago(seconds_ago), trouble=trouble)


def process(read_s: float, *, seen_s: float = 0.0, is_stale: bool = False) -> None:
    ResolverProcess.objects.create(
        process_id=uuid4(),
        role="bot",
        host="secret-host",
        pid=1,
        version="v1·0000",
        read_at=ago(read_s),
        is_stale=is_stale,
        seen_at=ago(seen_s),
    )


@override_settings(**PRODUCTION)
class AliveTest(SimpleTestCase):  # which forbids queries
    def test_the_process_answers_whatever_host_is_asked_for(self):
        for host in HOSTS:
            with self.subTest(host):
                answer = self.client.get("/healthz", headers={"host": host})

                assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
                assert answer["Cache-Control"] == "no-store"

    async def test_it_answers_under_asgi(self):
        answer = await self.async_client.get("/healthz", headers={"host": "evil.example.com"})

        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    def test_only_get_and_head_are_allowed(self):
        for path in ("/healthz", "/readyz"):
            for method in ("post", "put", "patch", "delete", "options", "trace"):
                with self.subTest(f"{method} {path}"):
                    answer = getattr(self.client, method)(path)

                    assert answer.status_code == 405
                    assert answer["Allow"] == "GET, HEAD"
                    assert answer["Cache-Control"] == "no-store"
        assert self.client.head("/healthz").status_code == 200

    def test_every_other_page_is_as_strict_as_before(self):
        allowed = {"host": "observatory.example.com"}

        assert self.client.get("/admin/", headers=allowed).status_code == 301
        assert self.client.get("/healthz/more", headers=allowed).status_code == 301
        with override_settings(SECURE_SSL_REDIRECT=False):
            other = self.client_class().get("/healthz/", headers={"host": "evil.example.com"})
        assert other.status_code == 400


@override_settings(
    **PRODUCTION,
    CACHES={
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "overrides": {"BACKEND": "tests.agents.doubles.ScriptedCache", "LOCATION": "overrides"},
    },
)
class ReadyTestCase(TransactionTestCase):
    """TransactionTestCase, because the probe asks over a connection of its own."""

    def setUp(self) -> None:
        script.reset()

    def ready(self, status_code: int = 200) -> dict[str, Any]:
        answer = self.client.get("/readyz", headers={"host": "evil.example.com"})
        assert answer.status_code == status_code, answer.content
        return dict(answer.json())


class ReadyTest(ReadyTestCase):
    def test_a_fit_installation_is_ok_in_all_its_parts(self):
        heard(3)
        process(0.4)
        process(2)
        in_hand(1, 20)
        task(2, age_s=40)
        task(3, status=TaskStatus.DEAD_LETTER, ended_at=timezone.now())

        said = self.ready()

        assert said["status"] == "ok"
        assert said["database"] == said["cache"] == {"state": "ok"}
        assert 40 <= said["queue"].pop("oldest_due_s") < 60
        assert said["queue"] == {"state": "ok", "open": 2, "dead": 1}
        assert 3 <= said["bot"].pop("heard_s") < 20
        assert said["bot"] == {"state": "ok", "trouble": ""}
        assert 2 <= said["overrides"].pop("age_s") < 20
        assert said["overrides"] == {"state": "ok", "processes": 2}

    def test_head_is_answered_as_get_without_a_body(self):
        answer = self.client.head("/readyz", headers={"host": "x"})

        assert (answer.status_code, answer.content) == (200, b"")
        assert answer["Cache-Control"] == "no-store"

    async def test_it_answers_under_asgi(self):
        answer = await self.async_client.get("/readyz", headers={"host": "evil.example.com"})

        assert (answer.status_code, answer.json()["database"]) == (200, {"state": "ok"})

    def test_it_takes_a_handful_of_statements_however_long_the_queue_is(self):
        with statements() as few:
            self.ready()
        for number in range(20):
            task(number, age_s=500, lane=f"chat:{number}")
        with statements() as many:
            self.ready(503)

        assert len(few) == 4
        assert len(many) == 5  # and whether a worker lives

    def test_the_connections_of_other_requests_stay_as_they_were(self):
        before = connections["default"]

        self.ready()

        assert connections["default"] is before


class DatabaseTest(ReadyTestCase):
    def test_without_a_database_it_is_not_ready_and_names_nothing(self):
        with patch.dict(connections.settings["default"], {"NAME": "/nowhere/secret-database"}):
            said = self.ready(503)

        assert said == {
            "status": "not ready",
            "database": {"state": "down"},
            "cache": {"state": "ok"},
            "queue": {"state": "unknown"},
            "bot": {"state": "unknown"},
            "overrides": {"state": "unknown"},
        }

    @pytest.mark.postgresql
    def test_a_table_that_nobody_may_read_holds_the_probe_for_seconds_only(self):
        started = time.monotonic()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE pipeline_task IN ACCESS EXCLUSIVE MODE")

            assert self.ready(503)["database"] == {"state": "down"}

        assert time.monotonic() - started < 10


class CacheTest(ReadyTestCase):
    def test_without_a_cache_it_is_degraded_and_still_ready(self):
        heard(1)
        process(1)
        script.is_down = True

        said = self.ready()

        assert said["cache"] == {"state": "down"}
        assert said["status"] == "degraded"


class QueueTest(ReadyTestCase):
    def state(self, status_code: int = 200) -> str:
        return str(self.ready(status_code)["queue"]["state"])

    def test_what_has_waited_for_two_minutes_without_a_worker_is_stalled(self):
        task(age_s=119)
        assert self.state() == "ok"

        Task.objects.update(created_at=ago(121))
        said = self.ready(503)

        assert said["queue"]["state"] == "stalled"
        assert said["status"] == "not ready"

    def test_a_live_lease_is_a_worker_and_what_waits_has_its_reason(self):
        task(1, age_s=4000)
        in_hand(2, 5)

        assert self.state() == "ok"

    def test_between_two_tasks_of_a_chat_the_ended_one_shows_that_a_worker_lives(self):
        in_hand(1, 20, status=TaskStatus.SUCCESSFUL, ended_at=timezone.now())
        task(2, age_s=400)

        assert self.state() == "ok"

    def test_a_failed_attempt_that_pauses_holds_its_chat_up_and_is_no_stall(self):
        in_hand(1, 20, status=TaskStatus.READY, due_at=ago(-4))
        task(2, age_s=400)

        assert self.state() == "ok"

    def test_what_is_not_due_yet_waits_for_nobody(self):
        task(1, age_s=4000, due_at=ago(-30))

        said = self.ready()["queue"]

        assert said == {"state": "ok", "open": 1, "oldest_due_s": 0.0, "dead": 0}

    def test_what_a_worker_held_when_it_died_waits_from_the_end_of_its_lease(self):
        in_hand(1, -110, age_s=4000)
        assert self.state() == "ok"

        Task.objects.update(lease_until=ago(121))

        assert self.state(503) == "stalled"

    def test_what_has_ended_never_waits(self):
        for number, status in enumerate(
            (TaskStatus.SUCCESSFUL, TaskStatus.IGNORED, TaskStatus.DEAD_LETTER)
        ):
            task(number, age_s=4000, status=status, ended_at=ago(3000))

        said = self.ready()["queue"]

        assert said == {"state": "ok", "open": 0, "oldest_due_s": 0.0, "dead": 1}

    def test_a_worker_that_comes_back_ends_the_stall(self):
        task(age_s=4000)
        assert self.state(503) == "stalled"

        assert TaskStore("w", timezone.now).claim({TaskKind.MESSAGE: 1}).claims

        assert self.state() == "ok"


class BotTest(ReadyTestCase):
    def test_a_bot_that_never_heard_from_telegram_is_a_degradation(self):
        process(1)

        said = self.ready()

        assert (said["status"], said["bot"]) == ("degraded", {"state": "never"})

    def test_silence_of_a_minute_is_one_too_with_the_word_for_its_trouble(self):
        process(1)
        heard(59, "NetworkError")
        assert self.ready()["status"] == "ok"

        Poller.objects.update(heard_at=ago(61))
        said = self.ready()

        assert said["status"] == "degraded"
        assert said["bot"]["state"] == "silent"
        assert said["bot"]["trouble"] == "NetworkError"

    def test_of_a_trouble_in_words_only_the_first_is_told(self):
        heard(1, "Conflict: terminated by https://secret.example.com")

        assert self.ready()["bot"]["trouble"] == "Conflict"

    def test_the_row_of_a_former_token_does_not_count(self):
        heard(99_999, "InvalidToken", bot_id=1)
        heard(1, bot_id=2)

        assert self.ready()["bot"]["state"] == "ok"


class OverridesTest(ReadyTestCase):
    def setUp(self) -> None:
        super().setUp()
        heard(1)

    def test_without_a_living_process_it_says_so(self):
        process(1, seen_s=16)

        said = self.ready()

        assert (said["status"], said["overrides"]) == ("degraded", {"state": "no process"})

    def test_one_stale_process_is_a_degradation_and_the_oldest_snapshot_counts(self):
        process(1)
        process(300, is_stale=True)

        said = self.ready()

        assert said["status"] == "degraded"
        assert said["overrides"]["state"] == "stale"
        assert said["overrides"]["age_s"] >= 300

    def test_neither_host_nor_version_is_told(self):
        process(1)

        body = self.client.get("/readyz").content.decode()

        assert "secret-host" not in body
        assert "0000" not in body


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect the statements of connections that are opened meanwhile."""
    seen: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        seen.append(sql)
        return execute(sql, *rest)

    def watch(connection: BaseDatabaseWrapper, **_: Any) -> None:
        connection.execute_wrappers.append(note)

    connection_created.connect(watch)
    try:
        yield seen
    finally:
        connection_created.disconnect(watch)
