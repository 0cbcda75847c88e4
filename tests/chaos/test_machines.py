"""Several machines: workers are killed, paused and cut off from PostgreSQL and Redis.

OBSERVATORY_PROVE=1 has the counts of the reliability plan; OBSERVATORY_SEED=n the same moments
again.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection, transaction

from pipeline.crashpoints import POINTS
from pipeline.models import LLMCall, Member, Task
from pipeline.models.inbox import TaskKind, TaskStatus
from pipeline.models.members import Access
from pipeline.models.runs import CallStatus
from tests.agents.processes import environment, migrate
from tests.canaries import MEMBER_KEY
from tests.chaos.courier import Courier
from tests.chaos.fleet import (
    BOT,
    WORKER,
    Bot,
    People,
    all_done,
    running_bot,
    wait_for,
    web,
    write_until_it_dies,
)
from tests.chaos.invariants import World, assert_invariants
from tests.chaos.test_kills import CHOICES, DEFAULT_MODEL, SEED, ChaosCase
from tests.made_up_agents import set_unchecked
from tests.pipeline.bot.chatting import MAYA, TOM
from tests.proving import amount, closing_line
from tests.sandbox.serving import running_sandbox
from tests.servers import Server, free_port, postgres, redis_server

KILLS, CHATS, MESSAGES = amount(5, proving=50), amount(10, proving=50), amount(40, proving=2000)
ALIVE_S = (0.5, 3.0)
OUTAGES, OUTAGE_S = amount(1, proving=8), 10.0
SECRET = "the-secret-of-this-webhook"
OF_INTAKE = {"storing updates", "updates stored"}
SLOW_MODEL = "sandbox/latency-3000"
WORLD = World(default_model=DEFAULT_MODEL)


@dataclass(frozen=True, slots=True)
class Machines:
    """What runs: who takes updates in, and who answers them."""

    intake: Bot
    workers: list[Bot]
    people: People
    more_intakes: list[Bot] = field(default_factory=list)

    @property
    def all(self) -> list[Bot]:
        return [self.intake, *self.workers, *self.more_intakes]

    def start(self) -> None:
        for process in self.all:
            process.start()

    def log(self) -> str:
        return "\n".join(process.log()[-20_000:] for process in self.all)

    def end_well(self, world: World = WORLD) -> None:
        """Everything is answered, everybody stops in order, and every invariant holds."""
        all_done(180, self.people, self.workers[0])
        assert [process.stop() for process in self.all] == [0] * len(self.all)
        assert_invariants(self.people, world)


class MachinesCase(ChaosCase):
    """An intake and two workers, each with a folder of its own as machines have."""

    @contextmanager
    def machines(
        self, *, has_webhook: bool = False, webs: int = 1, **wanted: Any
    ) -> Iterator[Machines]:
        forget_jobs()
        changes = {
            "QUEUE": "procrastinate",
            "DEFAULT_MODEL": DEFAULT_MODEL,
            "DEFAULT_MODELS": {"openrouter": DEFAULT_MODEL},
            **wanted,
        }
        ports = [free_port() for _ in range(webs)]
        urls = [f"http://127.0.0.1:{port}/telegram/webhook" for port in ports]
        if has_webhook:
            changes |= {"TELEGRAM_WEBHOOK_URL": urls[0], "TELEGRAM_WEBHOOK_SECRET": SECRET}
        intakes = [web(port) for port in ports] if has_webhook else [BOT]
        with running_sandbox() as base_url, ExitStack() as stack:
            first, second, intake, *more_intakes = [
                stack.enter_context(running_bot(base_url, job, **changes))
                for job in (WORKER, WORKER, *intakes)
            ]
            if has_webhook:
                courier = Courier(base_url, urls, SECRET, SEED)
                stack.enter_context(courier.at_work())
            people = People(base_url)
            stack.callback(people.close)
            maya = Member(telegram_id=MAYA, name="Maya", access=Access.APPROVED)
            maya.keep_key("openrouter", MEMBER_KEY)
            maya.save()
            yield Machines(intake, [first, second], people, more_intakes)


def forget_jobs() -> None:
    """Remove the jobs of earlier tests: the library's tables are not the suite's to flush."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")


@pytest.mark.chaos
@pytest.mark.postgresql
class KilledMachinesTests(MachinesCase):
    def test_kills_of_a_poller_and_of_workers_lose_and_repeat_nothing(self):
        self._kill_at_random(has_webhook=False)

    def test_kills_of_a_web_process_and_of_workers_lose_and_repeat_nothing(self):
        self._kill_at_random(has_webhook=True)

    def _kill_at_random(self, *, has_webhook: bool) -> None:
        chance = random.Random(SEED)
        versions: dict[tuple[str, int], str] = {}
        with self.machines(has_webhook=has_webhook) as machines:
            people = machines.people
            chats = [MAYA, TOM, *people.join(CHATS - 2)]
            numbers = dict.fromkeys(chats, 0)
            machines.start()
            for round_number in range(KILLS):
                share = MESSAGES // KILLS + (MESSAGES % KILLS if round_number == 0 else 0)
                for _ in range(share):
                    person = chance.choice(chats)
                    numbers[person] += 1
                    people.say(person, f"prospect {person} number {numbers[person]} end")
                agent, model = chance.choice(["extraction", "strategist"]), chance.choice(CHOICES)
                row = set_unchecked(agent, model)
                versions[agent, row.version] = model
                time.sleep(chance.uniform(*ALIVE_S))  # the moment is what is random here
                killed = chance.choice(machines.all)
                killed.kill()
                killed.start(is_awaited=chance.random() < 0.5)
            began = time.monotonic()
            all_done(120 + MESSAGES, people, machines.workers[0])
            took = time.monotonic() - began
            machines.end_well(World(default_model=DEFAULT_MODEL, models=versions))
            repeated = LLMCall.objects.filter(status=CallStatus.INTERRUPTED).count()
        closing_line(
            f"\n{'webhook' if has_webhook else 'polling'}: {KILLS} kills among three processes"
            f" under {MESSAGES} messages in {CHATS} chats, lost=0, twice=0; {repeated} calls were"
            f" in flight at a kill; all done {took:.1f} s after the last, seed={SEED}\n"
        )

    def test_a_kill_at_each_named_point_loses_and_repeats_nothing(self):
        with self.machines() as machines:
            for count in range(1, 1 + amount(1, proving=3)):
                for point in POINTS:
                    with self.subTest(point=point, count=count):
                        self._die_and_go_on(machines, point, count)

    def _die_and_go_on(self, machines: Machines, point: str, count: int) -> None:
        people, name = machines.people, f"{point}-{count}".replace(" ", "-")
        dying = machines.intake if point in OF_INTAKE else machines.workers[0]
        people.say(MAYA, f"prospect {name} before end")
        for process in machines.all[:2]:
            process.start(crash_point=f"{point}:{count}" if process is dying else "")
        write_until_it_dies(people, (TOM, MAYA), dying, name)

        for process in machines.all:
            if not process.is_running:
                process.start()
        machines.end_well()

    def test_a_message_that_kills_its_workers_is_given_up_and_the_others_go_on(self):
        with self.machines() as machines:
            people, worker = machines.people, machines.workers[0]
            machines.intake.start()
            others = [MAYA, *people.join(4)]
            people.say(TOM, "prospect poison end")
            for person in others:
                people.say(person, "prospect harmless end")
            for _ in range(5):
                worker.start(crash_point="foreground call written@poison", is_awaited=False)
                worker.dies()
            worker.start(crash_point="foreground call written@poison")
            machines.workers[1].start()
            people.sees(TOM, "I tried 5 times", within_s=60)
            for person in others:
                people.sees(person, "Draft to send")
            people.say(TOM, "prospect after it end")
            people.said[TOM].remove("prospect poison end")
            people.sees(TOM, "prospect after it end")
            machines.end_well(World(default_model=DEFAULT_MODEL, may_die=1))

    def test_cancel_ends_a_run_whichever_worker_has_it(self):
        with self.machines(DEFAULT_MODEL="sandbox/latency-20000") as machines:
            people = machines.people
            chats = [TOM, *people.join(7)]
            machines.start()
            for person in chats:
                people.say(person, f"prospect {person} end")
            wait_for(lambda: len(people.calls()) == len(chats), 60, machines.log)
            assert len(holders()) == 2
            for person in chats:
                people.say(person, "/cancel")
            for person in chats:
                people.sees(person, "Stopped")
                people.said[person].remove(f"prospect {person} end")  # it has no answer
            machines.end_well(World(default_model="sandbox/latency-20000"))

    def test_the_chats_of_a_killed_worker_go_on_and_the_others_never_stop(self):
        with self.machines(DEFAULT_MODEL=SLOW_MODEL) as machines:
            people, (killed, survivor) = machines.people, machines.workers
            chats = [TOM, *people.join(7)]
            machines.start()
            for person in chats:
                people.say(person, f"prospect {person} before end")
            wait_for(lambda: len(holders()) == 2, 60, machines.log)
            of_the_killed = chats_of(killed)
            killed.kill()
            died_at = time.monotonic()
            people.say(chats[-1], "prospect meanwhile end")

            for person in of_the_killed:
                wait_for(lambda: person not in chats_of(killed), 60, survivor.log)  # noqa: B023
            freed_s = time.monotonic() - died_at
            all_done(120, people, survivor)
            assert survivor.starts == 1
            assert [process.stop() for process in (machines.intake, survivor)] == [0, 0]
            assert_invariants(people, World(default_model=SLOW_MODEL))
        closing_line(
            f"\na worker killed: its {len(of_the_killed)} chats were another's"
            f" {freed_s:.1f} s later\n"
        )

    def test_a_worker_that_wakes_up_late_changes_nothing_and_its_spend_is_booked(self):
        with self.machines(DEFAULT_MODEL=SLOW_MODEL) as machines:
            people, (sleeper, survivor) = machines.people, machines.workers
            machines.intake.start()
            sleeper.start()
            people.say(TOM, "prospect asleep end")
            wait_for(lambda: bool(people.calls()), 60, machines.log)
            sleeper.freeze()
            survivor.start()

            people.sees(TOM, "Draft to send", within_s=120)
            sleeper.thaw()
            wait_for(lambda: "too late" in sleeper.log() or not holders(), 60, sleeper.log)
            people.say(TOM, "prospect awake end")
            machines.end_well(World(default_model=SLOW_MODEL))


@pytest.mark.chaos
@pytest.mark.postgresql
class ServersOutTests(MachinesCase):
    """PostgreSQL and Redis of the test's own, so that they can be broken."""

    def test_postgresql_that_stops_and_crashes_loses_nothing(self):
        with own_database() as database, self.machines(has_webhook=True) as machines:
            people = machines.people
            chats = [MAYA, TOM, *people.join(4)]
            machines.start()
            for number in range(OUTAGES):
                for person in chats:
                    people.say(person, f"prospect {person} before {number} end")
                wait_for(lambda: bool(people.calls()), 60, machines.log)
                connection.close()
                database.stop()
                for person in chats:
                    people.say(person, f"prospect {person} meanwhile {number} end")
                time.sleep(OUTAGE_S)  # so long is what the fault is
                database.start()
                for person in chats:
                    people.say(person, f"prospect {person} after {number} end")
                time.sleep(1)  # in the middle of the recovery
                crash_a_backend()
                database.wait_until_it_answers()  # asked to stop before, it may never come to that
            assert [process.starts for process in machines.all] == [1, 1, 1]
            machines.end_well()

    def test_locks_that_last_too_long_and_a_migration_while_running_lose_nothing(self):
        with self.machines() as machines:
            people = machines.people
            machines.start()
            for number in range(3):
                for person in (MAYA, TOM):
                    people.say(person, f"prospect {person} number {number} end")
            wait_for(lambda: bool(people.calls()), 60, machines.log)
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("LOCK TABLE pipeline_task, pipeline_telegramupdate")
                people.say(MAYA, "prospect while all is locked end")
                wait_for(lambda: "lock timeout" in machines.log(), 60, machines.log)
            for number in range(amount(5, proving=50)):
                people.say(MAYA, f"prospect while statements are cancelled {number} end")
                cancel_every_statement()
                time.sleep(0.2)  # so often is what the fault is
            with connection.cursor() as cursor:
                # What a migration does that adds a column and an index.
                cursor.execute("ALTER TABLE pipeline_task ADD COLUMN later integer DEFAULT 7")
                cursor.execute("CREATE INDEX CONCURRENTLY later_index ON pipeline_task (later)")
                self.addCleanup(_drop_column)
            people.say(TOM, "prospect on the new schema end")
            machines.end_well()

    def test_redis_that_is_flushed_frozen_and_stopped_changes_no_model(self):
        with (
            redis_server() as redis,
            self.settings(CACHES=caches_at(redis.url)),
            self.machines(cache_url=redis.url) as machines,
        ):
            people, versions = machines.people, {}
            machines.start()

            def ask(words: str, model: str) -> None:
                row = set_unchecked("strategist", model)
                versions["strategist", row.version] = model
                for person in (MAYA, TOM):
                    people.say(person, f"prospect {person} {words} end")

            ask("before", CHOICES[0])
            redis.client().flushall()
            ask("flushed", CHOICES[1])
            redis.freeze()
            ask("frozen", CHOICES[2])
            all_done(120, people, machines.workers[0])
            redis.thaw()
            redis.stop()
            ask("stopped", CHOICES[0])
            all_done(120, people, machines.workers[0])
            redis.start()
            ask("back", CHOICES[1])

            machines.end_well(World(default_model=DEFAULT_MODEL, models=versions))


def caches_at(url: str) -> dict[str, Any]:
    """Return the settings' caches, in another Redis."""
    return {name: {**cache, "LOCATION": url} for name, cache in settings.CACHES.items()}


def holders() -> set[str]:
    """Return the workers that have a message in hand."""
    running = Task.objects.filter(status=TaskStatus.RUNNING, kind=TaskKind.MESSAGE)
    return set(running.values_list("worker", flat=True))


def chats_of(bot: Bot) -> set[int]:
    """Return the chats of the messages that a worker has in hand."""
    installation = (bot.folder / "installation").read_text()
    running = Task.objects.filter(
        status=TaskStatus.RUNNING, kind=TaskKind.MESSAGE, worker__contains=installation
    )
    return {chat_id for chat_id in running.values_list("update__chat_id", flat=True) if chat_id}


def cancel_every_statement() -> None:
    """Have them all fail as at a statement timeout: to a client both are the same error."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def _drop_column() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE pipeline_task DROP COLUMN later")


def crash_a_backend() -> None:
    """Kill one connection's process; return once PostgreSQL has ended all others to recover."""
    where = connection.settings_dict
    address = {"host": where["HOST"], "user": where["USER"], "dbname": where["NAME"]}
    with psycopg.connect(**address) as victim, psycopg.connect(**address) as witness:
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                witness.execute("SELECT 1")
                time.sleep(0.01)


@contextmanager
def own_database() -> Iterator[Server]:
    """Have this process, and those that it starts, use a PostgreSQL of their own meanwhile."""
    kept = dict(connection.settings_dict)
    with postgres() as server:
        folder = server.url.removeprefix("postgres://postgres@/").rpartition("/")[0]
        own = {"HOST": folder, "NAME": "postgres", "USER": "postgres"}
        _use(own)
        try:
            migrate(environment())
            yield server
        finally:
            _use(kept)


def _use(database: dict[str, Any]) -> None:
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]
    connection.settings_dict.update(database)
