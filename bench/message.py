"""What a whole message costs the bot's processes, from intake to the edited answer, and idleness.

Messages come one after the other, each when the one before has its answer; the models answer at
once, so what is left is ours. On SQLite one process does everything and the cache is in files; on
PostgreSQL and Redis one takes updates in and one worker answers, and both count. The code before
runs on today's schema.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from django.core.management import call_command
from django.db import connection

from bench.before import code_before
from bench.machine import ROUNDS, described, sized
from tests.agents.processes import ROOT, environment, migrate
from tests.chaos.fleet import Bot, Job, People, running_bot, wait_for
from tests.sandbox.serving import running_sandbox

MESSAGES, WARM_UP = sized(60, 2), sized(10, 1)
CHATS = sized(10, 1)
IDLE_S = sized(20.0, 1.0)
PATIENCE_S = 60.0
COUNTED = str(ROOT / "bench/ours/counted.py")
BOT = Job((COUNTED, "runbot"), "polling as @")
WORKER = Job((COUNTED, "runworker"), "working as @")
COUNTS = ("statements", "connections", "commits", "turns")

Counts = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one lap came to."""

    message: Counts
    idle: Counts  # a second
    answered_after_s: float


def main() -> None:
    """Measure today's code in turns with the code before, and print."""
    migrate(environment())
    with code_before() as before:
        roots = {"today": ROOT} | before
        laps: dict[str, list[Outcome]] = {name: [] for name in roots}
        for _ in range(ROUNDS):
            for name, root in roots.items():
                laps[name].append(_lap(root))
    _show(laps)


def _lap(root: Path) -> Outcome:
    call_command("flush", interactive=False, verbosity=0)
    jobs = (BOT,) if connection.vendor == "sqlite" else (BOT, WORKER)
    queue = "inprocess" if len(jobs) == 1 else "procrastinate"
    with running_sandbox() as base_url, ExitStack() as stack:
        processes = [
            stack.enter_context(running_bot(base_url, job, root=root, QUEUE=queue)) for job in jobs
        ]
        for process in processes:
            process.start()
        people = People(base_url)
        stack.callback(people.close)
        chats = itertools.cycle(people.join(CHATS))  # a chat takes one message a second
        for number in range(WARM_UP):
            _ask(people, next(chats), number, processes[-1])
        before, began = _counted(processes), time.monotonic()
        for number in range(WARM_UP, WARM_UP + MESSAGES):
            _ask(people, next(chats), number, processes[-1])
        took_s = time.monotonic() - began
        after = _counted(processes)
        time.sleep(IDLE_S)
        rested = _counted(processes)
    return Outcome(
        message={name: (after[name] - before[name]) / MESSAGES for name in after},
        idle={name: (rested[name] - after[name]) / IDLE_S for name in after},
        answered_after_s=took_s / MESSAGES,
    )


def _ask(people: People, person: int, number: int, bot: Bot) -> None:
    text = f"prospect number {number} end"
    people.say(person, text)
    wait_for(
        lambda: any(text in reply for reply in people.replies(person)),
        PATIENCE_S,
        lambda: f"{people.replies(person)[-2:]}\n{bot.log()[-2000:]}",
    )


def _counted(processes: list[Bot]) -> Counts:
    """Return what all processes have done since their start."""
    total: Counts = dict.fromkeys(("cpu_s", *COUNTS), 0.0)
    for process in processes:
        found = process.folder / "counts.json"
        found.unlink(missing_ok=True)
        os.kill(process.pid, signal.SIGUSR1)
        wait_for(found.exists, PATIENCE_S, process.log)
        for name, count in json.loads(found.read_text()).items():
            total[name] += count
    return total


def _show(laps: dict[str, list[Outcome]]) -> None:
    print(
        f"\nA message, {MESSAGES} one after the other, on {connection.vendor}\n"
        f"medians of {ROUNDS} laps, in turns; {described()}\n"
    )
    print("| | CPU ms | statements | connections opened | commits | loop turns | answered, s |")
    print("|---|---|---|---|---|---|---|")
    for name, outcomes in laps.items():
        after_s = statistics.median(outcome.answered_after_s for outcome in outcomes)
        print(_row(f"a message, {name}", [one.message for one in outcomes], f"{after_s:.2f}"))
        print(_row(f"an idle second, {name}", [one.idle for one in outcomes], ""), flush=True)


def _row(name: str, laps: list[Counts], after_s: str) -> str:
    middle = {count: statistics.median(lap[count] for lap in laps) for count in laps[0]}
    figures = " | ".join(f"{middle[count]:.1f}" for count in COUNTS)
    return f"| {name} | {middle['cpu_s'] * 1000:.1f} | {figures} | {after_s} |"


if __name__ == "__main__":
    main()
