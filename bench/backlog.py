"""What members see when the bot comes back to a long queue: what is sent, how fast, in which order.

All updates wait when the bot starts, five of each member. Telegram takes 30 sends and edits a
second, so each that is no answer puts one off. On SQLite one process does everything, on PostgreSQL
and Redis one takes updates in and others work. Counted is what the sandbox saw.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from django.core.management import call_command
from django.db import close_old_connections, connection

from bench.machine import described, sized
from pipeline.models import Task
from pipeline.models.inbox import TaskKind
from tests.agents.processes import environment, migrate
from tests.chaos.fleet import BOT, WORKER, People, running_bot, wait_for
from tests.sandbox.serving import running_sandbox

MEMBERS, EACH = sized(400, 4), sized(5, 2)
WORKERS = 2
PATIENCE_S = 1800.0
MIN_ANSWERS, MAX_IN_A_SECOND = 0.7, 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the sandbox saw."""

    answers: int
    sends: int
    most_in_a_second: int
    out_of_order: int
    first_s: float
    all_s: float

    def wrongs(self) -> list[str]:
        """Return what is not as promised."""
        wrongs = []
        if self.answers != MEMBERS * EACH:
            wrongs.append(f"{MEMBERS * EACH} were asked for, {self.answers} came")
        if self.answers < sized(MIN_ANSWERS, 0.0) * self.sends:
            wrongs.append(f"{self.answers} of {self.sends} sends were answers")
        if self.most_in_a_second > MAX_IN_A_SECOND:
            wrongs.append(f"{self.most_in_a_second} sends within one second")
        if self.out_of_order:
            wrongs.append(f"{self.out_of_order} answers were out of order")
        return wrongs


def main() -> int:
    """Measure, print, and return 1 if it is not as promised."""
    migrate(environment())
    call_command("flush", interactive=False, verbosity=0)
    print(f"\nA queue of {MEMBERS * EACH:,} on {connection.vendor}\n{described()}\n")
    outcome = _measured()
    print("| sends and edits | answers | most in a second | out of order | first s | all s |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {outcome.sends:,} | {outcome.answers:,} ({outcome.answers / outcome.sends:.0%}) |"
        f" {outcome.most_in_a_second} | {outcome.out_of_order} | {outcome.first_s:.1f} |"
        f" {outcome.all_s:.1f} |",
        flush=True,
    )
    print("\n".join(outcome.wrongs()))
    return int(bool(outcome.wrongs()))


def _measured() -> Outcome:
    is_postgresql = connection.vendor == "postgresql"
    jobs = [BOT, *[WORKER] * WORKERS] if is_postgresql else [BOT]
    queue = "procrastinate" if is_postgresql else "inprocess"
    with running_sandbox() as base_url, ExitStack() as stack:
        people = People(base_url)
        stack.callback(people.close)
        chats = people.join(MEMBERS)
        for number in range(EACH):
            for person in chats:
                people.say(person, f"prospect {person} number {number} end")
        bots = [stack.enter_context(running_bot(base_url, job, QUEUE=queue)) for job in jobs]
        for bot in bots:
            bot.start()
        began = time.time()
        wait_for(_are_answered, PATIENCE_S, bots[-1].log)
        outcome = _seen(people, began)
        for bot in bots:
            bot.stop()
    return outcome


def _are_answered() -> bool:
    close_old_connections()
    messages = Task.objects.filter(kind=TaskKind.MESSAGE)
    return messages.filter(ended_at__isnull=False).count() == MEMBERS * EACH


def _seen(people: People, began: float) -> Outcome:
    """Count what was sent; an answer is out of order if one to a later message came before it."""
    limits, times = people.get("/telegram/limits"), list[float]()
    numbers: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for message in people.sent():
        for state in message["history"]:
            text = state.get("text", "")
            if "Draft to send" in text:
                asked = int(text.partition(" number ")[2].split()[0])
                numbers[message["chat_id"]].append((asked, message["message_id"], state["n"]))
                times.append(datetime.fromisoformat(state["at"]).timestamp())
    wrong = [
        one
        for answers in numbers.values()
        for one, later in pairwise(sorted(answers))
        if one[1] > later[1] or one[2] > later[2]
    ]
    return Outcome(
        answers=len(times),
        sends=limits["calls"],
        most_in_a_second=limits["most_in_a_second"],
        out_of_order=len(wrong),
        first_s=min(times) - began,
        all_s=max(times) - began,
    )
