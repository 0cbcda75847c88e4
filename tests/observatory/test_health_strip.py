"""The health strip of the overview: each of its figures, and what it says of a bad one."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from uuid import uuid4

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import TestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from agents.models import ResolverProcess
from observatory.dashboard import views
from observatory.dashboard.health_strip import (
    CreditNow,
    LatencyNow,
    QueueNow,
    credit_now,
    latency_now,
    queue_now,
    workers_now,
)
from observatory.dashboard.recent import Recent
from observatory.templatetags.dashboard import duration
from pipeline.models import PeriodicJob, PipelineRun, StepRun, Task, TelegramUpdate
from pipeline.models.inbox import TaskKind, TaskStatus
from pipeline.models.runs import RunStatus, Source
from pipeline.operations import attention

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
KEY = "sk-or-v1-not-a-key-0001"
NOTHING = QueueNow(waiting=0, in_progress=0, background=0, oldest_wait=None)
_numbers = count(1)


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def task(age_s: float = 0.0, *, now: datetime = NOW, **fields) -> Task:
    """A message that came in so many seconds ago."""
    update = TelegramUpdate.objects.create(bot_id=1, update_id=next(_numbers), raw="{}")
    given = {"kind": TaskKind.MESSAGE, "lane": "1:", "created_at": now - s(age_s)}
    return Task.objects.create(update=update, **(given | fields))


def running(lease_s: float, lane: str = "9:") -> Task:
    """A message whose worker's lease ends in so many seconds."""
    ends_at, is_running = NOW + s(lease_s), TaskStatus.RUNNING
    return task(600, lane=lane, status=is_running, token=uuid4(), lease_until=ends_at)


def background_step() -> Task:
    run = a_run(60, ended_at=None)
    fields = {"agent": "memory", "mode": "background", "started_at": NOW}
    step = StepRun.objects.create(run=run, position=2, **fields)
    return Task.objects.create(kind=TaskKind.STEP, step=step, created_at=NOW - s(900))


def a_run(ended_s: float, took_s: float = 1.0, *, now: datetime = NOW, **fields) -> PipelineRun:
    """A run that ended so many seconds ago."""
    given = {
        "pipeline": "support",
        "source": Source.TELEGRAM,
        "status": RunStatus.OK,
        "started_at": now - s(ended_s + took_s),
        "ended_at": now - s(ended_s),
    }
    return PipelineRun.objects.create(**(given | fields))


def process(role: str, **fields) -> ResolverProcess:
    given = {"host": "here", "pid": 7, "version": "v0·0000", "seen_at": timezone.now()}
    return ResolverProcess.objects.create(process_id=uuid4(), role=role, **(given | fields))


def heard(**result) -> None:
    PeriodicJob.objects.create(name=attention.CREDIT, due_at=NOW, last_result=result)


def plan_of(ask: Callable[[], object]) -> str:
    """Return the plan of the one query of a function, on a table worth an index."""
    with CaptureQueriesContext(connection) as seen:
        ask()
    (query,) = seen.captured_queries
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
        cursor.execute(f"{explain} {query['sql']}")
        return "\n".join(str(row) for row in cursor.fetchall())


class QueueTest(TestCase):
    def test_a_message_behind_its_chats_earlier_one_is_no_long_wait(self):
        running(100, lane="1:")
        task(90, lane="1:")
        task(5, lane="2:")

        assert queue_now(NOW) == QueueNow(waiting=2, in_progress=1, background=0, oldest_wait=s(5))

    def test_an_empty_installation_has_no_queue(self):
        assert queue_now(NOW) == NOTHING
        assert not NOTHING.is_long

    def test_what_members_wait_for_is_counted_and_the_oldest_says_how_long(self):
        task(3)
        task(42)
        task(7, kind=TaskKind.CONTROL, lane="")
        task(5, kind=TaskKind.GREETING, lane="")
        running(9)
        for status in (TaskStatus.SUCCESSFUL, TaskStatus.DEAD_LETTER, TaskStatus.MERGED):
            task(5000, status=status)

        assert queue_now(NOW) == QueueNow(waiting=4, in_progress=1, background=0, oldest_wait=s(42))

    def test_background_tasks_are_counted_apart_and_have_no_wait(self):
        background_step()
        run = a_run(0, source=Source.RERUN, status=RunStatus.WAITING, ended_at=None)
        Task.objects.create(kind=TaskKind.RERUN, run=run, created_at=NOW - s(900))

        assert queue_now(NOW) == QueueNow(waiting=0, in_progress=0, background=2, oldest_wait=None)

    def test_a_notice_is_no_message_of_its_own(self):
        task(30, kind=TaskKind.NOTICE)

        assert queue_now(NOW) == NOTHING

    def test_what_pauses_before_another_attempt_waits_once_that_is_due(self):
        paused = task(600, due_at=NOW + s(4))
        assert queue_now(NOW) == NOTHING

        Task.objects.filter(pk=paused.pk).update(due_at=NOW - s(4))

        assert queue_now(NOW).oldest_wait == s(4)

    def test_what_is_due_far_ahead_waits_now_because_a_clock_was_set_back(self):
        task(600, due_at=NOW + s(3600))

        assert queue_now(NOW) == QueueNow(waiting=1, in_progress=0, background=0, oldest_wait=s(0))

    def test_a_message_whose_worker_died_waits_since_its_lease_ended(self):
        running(-90)

        assert queue_now(NOW) == QueueNow(waiting=1, in_progress=0, background=0, oldest_wait=s(90))

    def test_a_clock_that_is_ahead_makes_no_wait_negative(self):
        task(-30)

        assert queue_now(NOW) == QueueNow(waiting=1, in_progress=0, background=0, oldest_wait=s(0))

    def test_a_wait_of_more_than_a_minute_is_long(self):
        waiting = task(60)
        assert not queue_now(NOW).is_long

        Task.objects.filter(pk=waiting.pk).update(created_at=NOW - s(61))

        assert queue_now(NOW).is_long

    def test_one_query_finds_the_open_tasks_by_their_index(self):
        assert "task_open_in_lane" in plan_of(lambda: queue_now(NOW))


class WorkersTest(TestCase):
    def test_without_a_process_there_is_no_worker(self):
        assert workers_now([]) == []

    def test_processes_are_counted_by_role_without_runs_from_the_shell(self):
        roles = ("worker", "bot", "worker", "shell")

        assert workers_now([process(role) for role in roles]) == [("bot", 1), ("worker", 2)]


class LatencyTest(TestCase):
    def test_an_empty_installation_has_no_latency(self):
        assert latency_now(NOW) == LatencyNow(runs=0, p95_ms=None)

    def test_nineteen_of_twenty_runs_took_no_longer(self):
        for took_s in range(1, 21):
            a_run(took_s, took_s)

        assert latency_now(NOW) == LatencyNow(runs=20, p95_ms=19_000)

    def test_fewer_than_five_runs_give_no_figure(self):
        for _ in range(4):
            a_run(10)
        assert latency_now(NOW) == LatencyNow(runs=4, p95_ms=None)

        a_run(10, 2.5, status=RunStatus.FAILED)

        assert latency_now(NOW) == LatencyNow(runs=5, p95_ms=2500)

    def test_only_members_runs_that_ended_lately_count(self):
        a_run(899)
        a_run(901)
        a_run(1, source=Source.TRIAL)
        a_run(1, source=Source.RERUN)
        a_run(1, status=RunStatus.RUNNING, ended_at=None)

        assert latency_now(NOW).runs == 1

    def test_a_run_that_a_restart_found_unended_does_not_count(self):
        a_run(1, 7200, status=RunStatus.INTERRUPTED)

        assert latency_now(NOW).runs == 0

    def test_a_long_run_that_began_before_counts_once_it_ends(self):
        for _ in range(5):
            a_run(890, settings.RUN_DEADLINE_SECONDS)

        longest_ms = 1000 * settings.RUN_DEADLINE_SECONDS
        assert latency_now(NOW) == LatencyNow(runs=5, p95_ms=longest_ms)

    def test_a_clock_that_is_ahead_hides_no_run_and_makes_none_negative(self):
        for _ in range(5):
            a_run(-30, -2)
        a_run(-3600)  # before the clock was set back

        assert latency_now(NOW) == LatencyNow(runs=5, p95_ms=0)

    def test_slow_runs_count_however_many_quick_ones_began_after_them(self):
        slow = [a_run(10, 280) for _ in range(5)]
        row = {"pipeline": "", "source": Source.TRIAL, "started_at": NOW, "ended_at": NOW}
        PipelineRun.objects.bulk_create([PipelineRun(**row) for _ in range(1500)])

        assert latency_now(NOW) == LatencyNow(runs=len(slow), p95_ms=280_000)

    def test_one_query_finds_the_latest_runs_by_their_index(self):
        plan = plan_of(lambda: latency_now(NOW))

        assert "run_started" in plan


@override_settings(OPENROUTER_API_KEY=KEY)
class CreditTest(TestCase):
    def test_remaining_credit_is_shown_with_the_time_of_its_check(self):
        heard(remaining_usd="74.5", problem="", asked_at="2026-11-26T11:56:00+00:00")

        told = credit_now(NOW, [])

        assert told is not None
        assert (told.remaining_usd, told.asked_at) == (Decimal("74.5"), NOW - s(240))
        assert not told.is_unlimited
        assert not told.is_low

    def test_credit_is_low_when_the_alert_says_so(self):
        heard(remaining_usd="0.40", problem="", asked_at=NOW.isoformat())

        told = credit_now(NOW, attention.alerts(timezone.now()))

        assert told is not None
        assert told.is_low

    def test_a_key_without_a_limit_has_none(self):
        heard(remaining_usd=None, problem="", asked_at=NOW.isoformat())

        told = credit_now(NOW, [])

        assert told is not None
        assert told.is_unlimited

    def test_a_problem_makes_it_unknown(self):
        heard(remaining_usd=None, problem="OpenRouter rejects the key", asked_at=NOW.isoformat())

        told = credit_now(NOW, [])

        assert told is not None
        assert told.problem == "OpenRouter rejects the key"
        assert not told.is_unlimited

    def test_before_the_first_answer_it_is_unknown(self):
        unknown = CreditNow(remaining_usd=None, problem="", asked_at=None, is_low=False)
        assert credit_now(NOW, []) == unknown

        heard()

        assert credit_now(NOW, []) == unknown
        assert not unknown.is_unlimited

    def test_a_clock_that_is_ahead_asked_just_now(self):
        heard(remaining_usd="1", problem="", asked_at=(NOW + s(300)).isoformat())

        told = credit_now(NOW, [])

        assert told is not None
        assert told.asked_at == NOW

    def test_a_server_of_ones_own_and_no_key_have_no_credit(self):
        heard(remaining_usd="74.5", problem="", asked_at=NOW.isoformat())

        for changed in ({"SHARED_SERVER": "compatible"}, {"OPENROUTER_API_KEY": None}):
            with self.subTest(changed), override_settings(**changed):
                assert credit_now(NOW, []) is None


class DurationTest(TestCase):
    def test_a_duration_has_two_units_at_most(self):
        for seconds, words in (
            (0, "under 1 s"),
            (0.9, "under 1 s"),
            (42.7, "42 s"),
            (119, "119 s"),
            (120, "2 min"),
            (3599, "59 min"),
            (7500, "2 h 5 min"),
            (90_000, "1 d 1 h"),
        ):
            with self.subTest(seconds):
                assert duration(s(seconds)) == words


@override_settings(OPENROUTER_API_KEY=KEY)
class OnPageTest(TestCase):
    def setUp(self):
        views._recent = Recent(0.0)
        self.client.force_login(User.objects.create_superuser("ada", password="pw"))

    def strip(self) -> dict[str, str]:
        """Return the figures of the strip as an operator reads them, by their names."""
        page = self.client.get(reverse("admin:index")).content.decode()
        html = page[page.index('aria-label="Health"') : page.index("</dl>")]
        parts = re.findall(r'data-figure="(\w+)"(.*?)</div>', html, re.DOTALL)
        return {name: " ".join(strip_tags(part).strip("> ").split()) for name, part in parts}

    def links(self) -> dict[str, str]:
        page = self.client.get(reverse("admin:index")).content.decode()
        return dict(re.findall(r'id="health-(\w+)" href="([^"]+)"', page))

    def test_a_new_installation_says_what_is_missing(self):
        assert self.strip() == {
            "queue": "Members' queue 0 waiting 0 in progress",
            "wait": "Oldest wait none",
            "workers": "Workers none running",
            "p95": "p95 latency too few runs 0 runs, last 15 min",
            "credit": "Team key's credit unknown not checked yet",
        }

    def test_a_busy_installation_shows_its_figures(self):
        now = timezone.now()
        process("bot")
        for _ in range(2):
            process("worker")
        task(30, now=now)
        for _ in range(5):
            a_run(9, 8.4, now=now)
        background_step()
        heard(remaining_usd="74.5", problem="", asked_at=(now - s(245)).isoformat())

        strip = self.strip()

        assert re.fullmatch(r"Oldest wait 3\d s", strip.pop("wait"))
        assert strip.pop("credit").replace("\xa0", " ") == (
            "Team key's credit $74.50 left checked 4 minutes ago"
        )
        assert strip == {
            "queue": "Members' queue 1 waiting 0 in progress · 1 more in the background",
            "workers": "Workers 1 bot, 2 workers",
            "p95": "p95 latency 8.4 s 5 runs, last 15 min",
        }

    def test_what_is_bad_is_said_in_words_and_agrees_with_the_alerts(self):
        task(90, now=timezone.now())
        heard(remaining_usd="0.40", problem="", asked_at=timezone.now().isoformat())

        strip = self.strip()

        assert strip["wait"].endswith("Too long · over 1 minute")
        assert strip["workers"] == "Workers none running"
        assert strip["credit"].startswith("Team key's credit $0.40 left Low ·")
        found = {alert.key for alert in attention.alerts(timezone.now())}
        assert found >= {"no-process", "credit-low"}

    def test_unlimited_and_unknown_credit_look_different(self):
        asked_at = timezone.now().isoformat()
        for problem, words in (("", "no limit"), ("OpenRouter rejects the key", "unknown")):
            with self.subTest(words):
                PeriodicJob.objects.all().delete()
                heard(remaining_usd=None, problem=problem, asked_at=asked_at)

                assert f"credit {words} {problem}".rstrip() in self.strip()["credit"]

    @override_settings(SHARED_SERVER="compatible")
    def test_a_server_of_ones_own_has_no_credit_on_the_page(self):
        assert "credit" not in self.strip()

    def test_figures_lead_only_to_pages_that_the_operator_may_open(self):
        tasks = reverse("admin:pipeline_task_changelist") + "?show=open"
        runs = reverse("admin:pipeline_pipelinerun_changelist") + "?since=hour"
        assert self.links() == {"queue": tasks, "p95": runs}
        analyst = User.objects.create_user("bob", is_staff=True)
        names = ["view_agentmodelconfig", "view_pipelinerun"]
        analyst.user_permissions.set(Permission.objects.filter(codename__in=names))

        self.client.force_login(analyst)

        assert self.links() == {"p95": runs}
