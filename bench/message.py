"""What a whole message costs the bot's processes, from intake to the edited answer, and idleness.

Messages come one after the other, each when the one before has its answer; the models answer at
once, so what is left is ours. On SQLite one process does everything and the cache is in files; on
PostgreSQL and Redis one takes updates in and one worker answers, and both count.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from contextlib import ExitStack

from django.core.management import call_command
from django.db import connection

from bench.machine import described, sized
from tests.agents.processes import environment, migrate
from tests.chaos.fleet import Bot, Job, People, running_bot, wait_for
from tests.sandbox.serving import running_sandbox

MESSAGES, WARM_UP = sized(60, 2), sized(10, 1)
CHATS = sized(10, 1)
IDLE_S = sized(20.0, 1.0)
PATIENCE_S = 60.0
BOT = Job(("-m", "bench.ours.counted", "runbot"), "polling as @")
WORKER = Job(("-m", "bench.ours.counted", "runworker"), "working as @")
COUNTS = ("statements", "connections", "commits", "turns")

Counts = dict[str, float]


def main() -> None:
    """Measure and print."""
    migrate(environment())
    call_command("flush", interactive=False, verbosity=0)
    jobs = (BOT,) if connection.vendor == "sqlite" else (BOT, WORKER)
    queue = "inprocess" if len(jobs) == 1 else "procrastinate"
    with running_sandbox() as base_url, ExitStack() as stack:
        processes = [stack.enter_context(running_bot(base_url, job, QUEUE=queue)) for job in jobs]
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
        message = {name: (after[name] - before[name]) / MESSAGES for name in after}
        time.sleep(IDLE_S)
        rested = _counted(processes)
        idle = {name: (rested[name] - after[name]) / IDLE_S for name in after}
    _show(message, took_s / MESSAGES, idle)


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


def _show(message: Counts, took_s: float, idle: Counts) -> None:
    print(f"\nA message, {MESSAGES} one after the other, on {connection.vendor}\n{described()}\n")
    print(
        "| | CPU ms | statements | connections opened | commits | loop turns | answered after s |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, counts, until in (
        ("a message", message, f"{took_s:.2f}"),
        ("an idle second", idle, ""),
    ):
        figures = " | ".join(f"{counts[count]:.1f}" for count in COUNTS)
        print(f"| {name} | {counts['cpu_s'] * 1000:.1f} | {figures} | {until} |", flush=True)


if __name__ == "__main__":
    main()
