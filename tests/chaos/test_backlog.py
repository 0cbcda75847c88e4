"""The bot is killed again and again while many messages wait; then it catches up, answers first.

OBSERVATORY_PROVE=1 kills it 16 times with 2,000 messages queued; OBSERVATORY_SEED=n has the same
random moments again.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.bot import texts
from pipeline.models import OutgoingMessage
from pipeline.models.inbox import SendStatus
from tests.chaos.fleet import Bot, People, all_done
from tests.chaos.invariants import World, assert_invariants
from tests.chaos.test_kills import ALIVE_S, DEFAULT_MODEL, SEED, ChaosCase
from tests.chaos.test_machines import MachinesCase
from tests.proving import amount, closing_line

KILLS, CHATS, MESSAGES = amount(4, proving=16), amount(20, proving=50), amount(200, proving=2000)
FIRST_ANSWER_WITHIN_S = 10.0
WORLD = World(default_model=DEFAULT_MODEL)


def queue_up(people: People) -> list[int]:
    """Have everybody write all their messages, in turns."""
    chats = people.join(CHATS)
    for number in range(MESSAGES):
        person = chats[number % CHATS]
        people.say(person, f"prospect {person} number {number} end")
    return chats


def kill_again_and_again(processes: Sequence[Bot]) -> None:
    """Start processes and kill them at random moments; they run at the end no more."""
    chance = random.Random(SEED)
    for _ in range(KILLS):
        for process in processes:
            process.start(is_awaited=chance.random() < 0.8)
        time.sleep(chance.uniform(*ALIVE_S))  # the moment is what is random here
        for process in processes:
            process.kill()


def texts_since(people: People, began_at: float) -> list[tuple[float, str]]:
    """Return when each send and edit came after a start, in seconds, and its text."""
    began = datetime.fromtimestamp(began_at, UTC)
    states = [state for message in people.sent() for state in message["history"]]
    since = [
        ((datetime.fromisoformat(state["at"]) - began).total_seconds(), state.get("text", ""))
        for state in states
    ]
    return sorted(state for state in since if state[0] >= 0)


def assert_answers_came_first(people: People, began_at: float) -> str:
    """Compare what was sent since the last start with what is promised; return figures."""
    answered_at = [at for at, text in texts_since(people, began_at) if "Draft to send" in text]
    notices = Counter(
        message["chat_id"]
        for message in people.sent()
        if any(state.get("text") == texts.IN_LINE for state in message["history"])
    )
    unsure = OutgoingMessage.objects.filter(status=SendStatus.AMBIGUOUS).count()
    most = people.get("/telegram/limits")["most_in_a_second"]
    assert answered_at[0] <= FIRST_ANSWER_WITHIN_S
    assert max(notices.values(), default=0) <= 1
    assert most <= 30
    return (
        f"{KILLS} kills with {MESSAGES} queued in {CHATS} chats, lost=0, twice=0, hanging=0, "
        f"falsely cut off=0; first answer {answered_at[0]:.1f} s and all {answered_at[-1]:.1f} s "
        f"after the last start, {notices.total()} notices, {unsure} offered by a button, "
        f"at most {most} sends in a second, seed={SEED}\n"
    )


@pytest.mark.chaos
class BacklogTests(ChaosCase):
    def test_after_kills_with_many_queued_the_answers_come_first(self):
        with self.scene() as (bot, people):
            queue_up(people)
            kill_again_and_again([bot])
            began_at = time.time()
            bot.start()
            all_done(60 + MESSAGES, people, bot)
            assert bot.stop() == 0

            assert_invariants(people, WORLD)
            figures = assert_answers_came_first(people, began_at)
        closing_line(f"\none process: {figures}")


@pytest.mark.chaos
@pytest.mark.postgresql
class BacklogOfMachinesTests(MachinesCase):
    def test_after_kills_of_all_machines_with_many_queued_the_answers_come_first(self):
        with self.machines() as machines:
            people: Any = machines.people
            queue_up(people)
            kill_again_and_again(machines.all)
            began_at = 0.0
            for process in machines.all:
                began_at = time.time()
                process.start()
            all_done(60 + MESSAGES, people, machines.workers[0])
            assert [process.stop() for process in machines.all] == [0, 0, 0]

            assert_invariants(people, WORLD)
            figures = assert_answers_came_first(people, began_at)
        closing_line(f"\nthree processes: {figures}")
