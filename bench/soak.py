"""A long day in short: the system at 60 % of the most it can do, and nothing may grow or go wrong.

First a burst tells how many messages a minute it answers at most. Then as many as 60 % of that come
in, evenly, for SOAK_MINUTES, while an operator changes overrides all the time. At the end the
database is compared with what the sandbox saw (`tests.chaos.invariants`): nothing lost, nothing
twice, every step on the model that was chosen for it. Between its second and its last quarter no
process may have grown by more than a tenth, and answers may not have become slower.
"""

from __future__ import annotations

import itertools
import os
import random
import statistics
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psutil
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from agents.models import AgentModelConfig
from bench.machine import IS_TINY, described, sized
from pipeline.models import Task
from pipeline.models.inbox import OPEN
from tests.agents.processes import environment, migrate
from tests.chaos.fleet import BOT, WORKER, Bot, People, all_done, running_bot
from tests.chaos.invariants import World, assert_invariants
from tests.sandbox.serving import running_sandbox

MINUTES = float(os.environ.get("SOAK_MINUTES", sized(30, 0.05)))
SHARE = 0.6
CHATS = sized(60, 3)
BURST = sized(180, 3)
WORKERS = 2
LATENCY_S = 0.3  # of the models
CHANGE_EVERY_S, POLL_INTERVAL_S = sized((5.0, 2.0), (0.5, 0.5))
MODELS = ("openai/gpt-5-mini", "anthropic/claude-sonnet-4.5", "google/gemini-2.5-flash")
QUARTERS = 4
PATIENCE_S = 300.0
MAX_GROWTH = 1.1
MAX_SLOWER, SLOWER_S = 1.5, 1.0


@dataclass(slots=True)
class Watch:
    """What was seen meanwhile, by quarter of the time."""

    processes: dict[str, Bot]
    rss_mb: dict[str, dict[int, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    most_open: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def look(self, quarter: int) -> None:
        """Note memory and what waits now."""
        for name, process in self.processes.items():
            rss_mb = psutil.Process(process.pid).memory_info().rss / 2**20
            self.rss_mb[name][quarter].append(rss_mb)
        waiting = Task.objects.filter(status__in=OPEN).count()
        self.most_open[quarter] = max(self.most_open[quarter], waiting)

    def grown(self) -> list[str]:
        """Return which process has more memory than in its second quarter."""
        return [
            f"{name} grew from {_middle(by_quarter[1]):.0f} to {_middle(by_quarter[3]):.0f} MB"
            for name, by_quarter in self.rss_mb.items()
            if _middle(by_quarter[3]) > MAX_GROWTH * _middle(by_quarter[1])
        ]


def main() -> int:
    """Measure, print, and return 1 if anything grew or went wrong."""
    migrate(environment())
    call_command("flush", interactive=False, verbosity=0)
    print(f"\nSoak on {connection.vendor}, {MINUTES:g} minutes\n{described()}\n")
    with running_sandbox(latency_s=LATENCY_S) as base_url, ExitStack() as stack:
        processes = _processes(base_url, stack)
        for process in processes.values():
            process.start()
        people = People(base_url)
        stack.callback(people.close)
        wrongs = _soaked(people, processes)
    print("\n".join(wrongs) or "nothing grew, nothing went wrong")
    return int(bool(wrongs))


def _processes(base_url: str, stack: ExitStack) -> dict[str, Bot]:
    is_postgresql = connection.vendor == "postgresql"
    jobs = {"bot": BOT}
    if is_postgresql:
        jobs |= {f"worker {number}": WORKER for number in range(1, WORKERS + 1)}
    queue = "procrastinate" if is_postgresql else "inprocess"
    return {
        name: stack.enter_context(running_bot(base_url, job, QUEUE=queue))
        for name, job in jobs.items()
    }


def _soaked(people: People, processes: dict[str, Bot]) -> list[str]:
    """Return what went wrong."""
    chats = people.join(CHATS)
    versions: dict[tuple[str, int], str] = {}
    texts = itertools.count()
    most_per_s = _most_per_s(people, chats, texts, processes)
    per_s = most_per_s * SHARE
    print(f"at most {60 * most_per_s:.0f} answers a minute; {60 * per_s:.0f} come in")
    watch = Watch(processes)
    began_at, began = timezone.now(), time.monotonic()
    chance, next_say, next_change, next_look = random.Random(1), 0.0, 0.0, 0.0
    while (now_s := time.monotonic() - began) < 60 * MINUTES:
        if now_s >= next_say:
            _say(people, chats, next(texts))
            next_say += 1 / per_s
        if now_s >= next_change:
            agent, model = chance.choice(("extraction", "strategist")), chance.choice(MODELS)
            row = AgentModelConfig.objects.set_checked(
                agent, model_id=model, set_by="soak", is_active=True
            )
            versions[agent, row.version] = model
            next_change = now_s + CHANGE_EVERY_S
        if now_s >= next_look:
            watch.look(int(now_s / (60 * MINUTES) * QUARTERS))
            next_look = now_s + POLL_INTERVAL_S
        time.sleep(max(0.0, min(next_say, next_change, next_look) - (time.monotonic() - began)))
    all_done(PATIENCE_S, people, next(iter(processes.values())))
    waits_s = _waits_s(began_at)
    _show(watch, waits_s)
    return [*_wrongs(people, processes, versions), *_slower(watch, waits_s)]


def _most_per_s(
    people: People, chats: list[int], texts: itertools.count[int], processes: dict[str, Bot]
) -> float:
    began = time.monotonic()
    for _ in range(BURST):
        _say(people, chats, next(texts))
    all_done(PATIENCE_S, people, next(iter(processes.values())))
    return BURST / (time.monotonic() - began)


def _say(people: People, chats: list[int], number: int) -> None:
    people.say(chats[number % len(chats)], f"prospect number {number} end")


def _waits_s(since: datetime) -> dict[int, list[float]]:
    """Return how long messages waited for their answers, by the quarter in which they came."""
    waits: dict[int, list[float]] = defaultdict(list)
    span = timedelta(minutes=MINUTES)
    tasks = Task.objects.filter(kind="message", created_at__gte=since)
    for came, ended in tasks.values_list("created_at", "ended_at"):
        quarter = min(QUARTERS - 1, int((came - since) / span * QUARTERS))
        waits[quarter].append((ended - came).total_seconds())
    return waits


def _show(watch: Watch, waits_s: dict[int, list[float]]) -> None:
    names = list(watch.processes)
    print(f"\n| quarter | messages | answered, p95 s | most open | {', '.join(names)}: RSS MB |")
    print("|---|---|---|---|---|")
    for quarter in range(QUARTERS):
        rss_mb = ", ".join(f"{_middle(watch.rss_mb[name][quarter]):.0f}" for name in names)
        print(
            f"| {quarter + 1} | {len(waits_s[quarter])} | {_p95(waits_s[quarter]):.1f} |"
            f" {watch.most_open[quarter]} | {rss_mb} |"
        )
    print(flush=True)


def _wrongs(
    people: People, processes: dict[str, Bot], versions: dict[tuple[str, int], str]
) -> list[str]:
    wrongs = []
    for name, process in processes.items():
        if (code := process.stop()) != 0:
            wrongs.append(f"{name} ended with {code}")
        bad = [line for line in process.log().splitlines() if " ERROR " in line]
        wrongs += [f"{name} logged {len(bad)} errors, the first: {bad[0]}"] if bad else []
    try:
        assert_invariants(people, World(default_model=MODELS[0], models=versions))
    except AssertionError as error:
        wrongs.append(str(error))
    return wrongs


def _slower(watch: Watch, waits_s: dict[int, list[float]]) -> list[str]:
    if IS_TINY:
        return []
    before_s, after_s = _p95(waits_s[1]), _p95(waits_s[QUARTERS - 1])
    slower = after_s > MAX_SLOWER * before_s + SLOWER_S
    words = f"answers took {after_s:.1f} s at the end, {before_s:.1f} s before (p95)"
    return watch.grown() + ([words] if slower else [])


def _middle(figures: list[float]) -> float:
    return statistics.median(figures) if figures else 0.0


def _p95(figures: list[float]) -> float:
    return statistics.quantiles(figures, n=20)[-1] if len(figures) > 1 else sum(figures)
