"""The whole system: answers a minute, how long a run takes, start-up and memory, by workers.

All messages wait in the queue before the workers start; counted is the time until the last one has
its answer. Each member's model answers after a time drawn once from a log-normal distribution
(median 1.2 s, 95th percentile 2.7 s). On SQLite one process does everything, on PostgreSQL and
Redis one takes updates in and others work.
"""

from __future__ import annotations

import math
import os
import random
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass

import psutil
from django.core.management import call_command
from django.db import connection

from bench.machine import described, sized
from pipeline.models import Member, PipelineRun, Task, TelegramUpdate
from pipeline.models.inbox import OPEN
from pipeline.models.members import Access
from tests.agents.processes import environment, migrate
from tests.canaries import MEMBER_KEY
from tests.chaos.fleet import BOT, WORKER, Bot, People, running_bot, wait_for
from tests.sandbox.serving import running_sandbox

WORKERS = (1, 2, 4)
CHATS = int(os.environ.get("BENCH_CHATS", sized(60, 2)))
EACH = sized(3, 1)  # messages of each member, one after the other
AT_ONCE = 8  # runs of a worker
MEDIAN_S, SIGMA = sized(1.2, 0.1), 0.5
PATIENCE_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a number of workers came to."""

    took_s: float
    p95_run_s: float
    ready_s: float  # until a process polls or works
    rss_mb: float  # of the largest worker at the end


def main() -> None:
    """Measure and print."""
    is_sqlite = connection.vendor == "sqlite"
    migrate(environment())
    print(f"\nAnswers by workers, on {connection.vendor}\n{described()}")
    print(f"{CHATS} chats with {EACH} messages each, {AT_ONCE} runs at once in a worker\n")
    print("| workers | s | answers/min | times one | run, p95 s | ready after s | RSS MB |")
    print("|---|---|---|---|---|---|---|")
    alone_s = 0.0
    for count in WORKERS[:1] if is_sqlite else WORKERS:
        outcome = _measured_alone() if is_sqlite else _measured(count)
        alone_s = alone_s or outcome.took_s
        print(
            f"| {count} | {outcome.took_s:.1f} | {CHATS * EACH / outcome.took_s * 60:.0f} |"
            f" {alone_s / outcome.took_s:.2f} | {outcome.p95_run_s:.1f} |"
            f" {outcome.ready_s:.1f} | {outcome.rss_mb:.0f} |",
            flush=True,
        )


def _measured(count: int) -> Outcome:
    """Return what so many workers take for all messages."""
    settings = {"QUEUE": "procrastinate", "RUNS_AT_ONCE": AT_ONCE}
    call_command("flush", interactive=False, verbosity=0)  # the next sandbox counts from one again
    with running_sandbox() as base_url, ExitStack() as stack:
        people = _joined(base_url, stack)
        intake, *workers = [
            stack.enter_context(running_bot(base_url, job, **settings))
            for job in (BOT, *[WORKER] * count)
        ]
        ready_s = _started(intake)
        _speak(people, intake)
        for worker in workers:
            worker.start(is_awaited=False)
        return _worked(workers, ready_s, [intake])


def _measured_alone() -> Outcome:
    """Return what one process takes that does everything, from when it is there."""
    call_command("flush", interactive=False, verbosity=0)
    with running_sandbox() as base_url, ExitStack() as stack:
        people = _joined(base_url, stack)
        bot = stack.enter_context(running_bot(base_url, BOT, RUNS_AT_ONCE=AT_ONCE))
        ready_s = _started(bot)
        began = time.monotonic()  # it answers while others still write
        _speak(people, bot)
        return _worked([bot], ready_s, [], began=began)


def _joined(base_url: str, stack: ExitStack) -> People:
    people = People(base_url)
    stack.callback(people.close)
    chance = random.Random(1)
    for person in people.join(CHATS):
        people.said[person] = []
        latency_ms = 1000 * chance.lognormvariate(math.log(MEDIAN_S), SIGMA)
        member = Member.objects.get_or_create(telegram_id=person)[0]
        member.access, member.model_id = Access.APPROVED, f"sandbox/latency-{latency_ms:04.0f}"
        member.keep_key("openrouter", MEMBER_KEY)
        member.save()
    return people


def _started(process: Bot) -> float:
    began = time.monotonic()
    process.start()
    return time.monotonic() - began


def _speak(people: People, intake: Bot) -> None:
    for number in range(EACH):
        for person in list(people.said):
            people.say(person, f"prospect {person} number {number} end")
    wait_for(lambda: TelegramUpdate.objects.count() >= CHATS * EACH, PATIENCE_S, intake.log)


def _worked(
    workers: list[Bot], ready_s: float, others: list[Bot], *, began: float | None = None
) -> Outcome:
    """Return what came out; by itself from the first message that is taken up, start-up apart."""
    messages = Task.objects.filter(kind="message")
    wait_for(lambda: messages.exclude(token=None).exists(), PATIENCE_S, workers[0].log)
    began = began or time.monotonic()
    wait_for(lambda: not messages.filter(status__in=OPEN).exists(), PATIENCE_S, workers[0].log)
    took_s = time.monotonic() - began
    rss_mb = max(psutil.Process(worker.pid).memory_info().rss for worker in workers) / 2**20
    for process in (*others, *workers):
        process.stop()
    runs = PipelineRun.objects.filter(status="ok")
    assert runs.count() == CHATS * EACH, workers[0].log()[-3000:]
    spans = runs.values_list("started_at", "ended_at")
    times = [(ended - started).total_seconds() for started, ended in spans]
    return Outcome(
        took_s=took_s,
        p95_run_s=statistics.quantiles(times, n=20)[-1],
        ready_s=ready_s,
        rss_mb=rss_mb,
    )
