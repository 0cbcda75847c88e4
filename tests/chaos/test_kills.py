"""The bot is killed: nothing is lost, nothing is answered twice, nothing is paid twice.

OBSERVATORY_PROVE=1 kills it 50 times under 2,000 messages in 50 chats; OBSERVATORY_SEED=n has the
same random moments again.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.test import TransactionTestCase

from pipeline.crashpoints import POINTS
from pipeline.models import LLMCall, Member, OutgoingMessage, StepRun, Task
from pipeline.models.inbox import SendStatus, TaskStatus
from pipeline.models.members import Access
from pipeline.models.runs import CallStatus
from tests.canaries import MEMBER_KEY
from tests.chaos.fleet import Bot, People, all_done, running_bot, write_until_it_dies
from tests.chaos.invariants import World, assert_invariants
from tests.made_up_agents import set_unchecked
from tests.pipeline.bot.chatting import MAYA, NOOR, TOM
from tests.proving import amount, closing_line
from tests.sandbox.serving import running_sandbox

SEED = int(os.environ.get("OBSERVATORY_SEED") or random.randrange(10**6))
KILLS, CHATS, MESSAGES = amount(4, proving=50), amount(10, proving=50), amount(40, proving=2000)
ALIVE_S = (0.2, 3.0)  # between a start and the kill
DEFAULT_MODEL = "sandbox/latency-100"
CHOICES = ("sandbox/latency-0120", "sandbox/latency-0080", "anthropic/claude-sonnet-4.5")


class ChaosCase(TransactionTestCase):
    """A bot's process on the test's own database, and people in a sandbox."""

    @contextmanager
    def scene(self, **settings: Any) -> Iterator[tuple[Bot, People]]:
        with running_sandbox() as base_url, self.scene_at(base_url, **settings) as scene:
            yield scene

    @contextmanager
    def scene_at(self, base_url: str, **settings: Any) -> Iterator[tuple[Bot, People]]:
        models: dict[str, Any] = {
            "DEFAULT_MODEL": DEFAULT_MODEL,
            "DEFAULT_MODELS": {"openrouter": DEFAULT_MODEL},
        }
        with running_bot(base_url, **models, **settings) as bot:
            people = People(base_url)
            self.addCleanup(people.close)
            maya = Member(telegram_id=MAYA, name="Maya", access=Access.APPROVED)
            maya.keep_key("openrouter", MEMBER_KEY)
            maya.save()
            Member.objects.create(telegram_id=NOOR, name="Noor", access=Access.BLOCKED)
            yield bot, people


def addresses(url: str) -> dict[str, str]:
    """Return the settings of a bot that reaches the sandbox at another address."""
    return {
        "TELEGRAM_API_BASE_URL": f"{url}/telegram",
        "TELEGRAM_FILE_BASE_URL": f"{url}/telegram/file",
        "OPENROUTER_BASE_URL": f"{url}/openrouter/api/v1",
    }


@pytest.mark.chaos
class RandomKillTests(ChaosCase):
    def test_kills_at_random_moments_lose_and_repeat_nothing(self):
        chance = random.Random(SEED)
        versions: dict[tuple[str, int], str] = {}
        with self.scene() as (bot, people):
            chats = [MAYA, TOM, *people.join(CHATS - 2)]
            numbers = dict.fromkeys(chats, 0)
            said = 0
            for round_number in range(KILLS):
                bot.start(is_awaited=chance.random() < 0.8)
                batch = (MESSAGES - said) if round_number == KILLS - 1 else MESSAGES // KILLS
                for _ in range(batch):
                    person = chance.choice(chats)
                    numbers[person] += 1
                    people.say(person, f"prospect {person} number {numbers[person]} end")
                said += batch
                people.say(NOOR, "let me in")
                agent, model = chance.choice(["extraction", "strategist"]), chance.choice(CHOICES)
                row = set_unchecked(agent, model)
                versions[agent, row.version] = model
                time.sleep(chance.uniform(*ALIVE_S))  # the moment is what is random here
                bot.kill()
            began = time.monotonic()
            bot.start()
            all_done(60 + said, people, bot)
            took = time.monotonic() - began
            assert bot.stop() == 0

            assert_invariants(people, World(default_model=DEFAULT_MODEL, models=versions))
            repeated = LLMCall.objects.filter(status=CallStatus.INTERRUPTED).count()
            again = StepRun.objects.filter(attempt__gt=1).count()
            unsure = OutgoingMessage.objects.filter(status=SendStatus.AMBIGUOUS).count()
        closing_line(
            f"\nkills: {KILLS} under {said} messages in {len(chats)} chats, lost=0, twice=0;"
            f" {repeated} calls were in flight at a kill, {again} steps begun again,"
            f" {unsure} messages offered by a button; all done {took:.1f} s after the last start,"
            f" seed={SEED}\n"
        )


@pytest.mark.chaos
class NamedKillTests(ChaosCase):
    def test_a_kill_at_each_named_point_loses_and_repeats_nothing(self):
        with self.scene() as (bot, people):
            for count in range(1, 1 + amount(1, proving=3)):
                for point in POINTS:
                    with self.subTest(point=point, count=count):
                        self._die_and_go_on(bot, people, f"{point}:{count}")

    def _die_and_go_on(self, bot: Bot, people: People, crash_point: str) -> None:
        name = crash_point.replace(" ", "-")
        people.say(MAYA, f"prospect {name} before end")
        bot.start(crash_point=crash_point)
        write_until_it_dies(people, (TOM, MAYA), bot, name)

        bot.start()
        all_done(60, people, bot)
        assert bot.stop() == 0

        assert_invariants(people, World(default_model=DEFAULT_MODEL))

    def test_a_message_that_kills_its_worker_is_given_up_and_the_others_go_on(self):
        with self.scene() as (bot, people):
            others = [MAYA, *people.join(4)]
            people.say(TOM, "prospect poison end")
            for person in others:
                people.say(person, "prospect harmless end")
            for _ in range(5):
                bot.start(crash_point="foreground call written@poison", is_awaited=False)
                bot.dies()
            bot.start(crash_point="foreground call written@poison")
            people.sees(TOM, "I tried 5 times")
            people.say(TOM, "prospect after it end")
            all_done(40, people, bot)
            assert bot.stop() == 0

            dead = Task.objects.get(status=TaskStatus.DEAD_LETTER)
            assert "died 5 times" in dead.error
            people.said[TOM].remove("prospect poison end")
            assert_invariants(people, World(default_model=DEFAULT_MODEL, may_die=1))

    def test_a_stop_in_order_and_a_second_signal_lose_nothing_either(self):
        with self.scene(DRAIN_SECONDS=1) as (bot, people):
            bot.start()
            for number in range(3):
                for person in (MAYA, TOM):
                    people.say(person, f"prospect {person} number {number} end")
            assert bot.stop() == 0
            bot.start()
            all_done(40, people, bot)
            assert bot.stop() == 0

            assert_invariants(people, World(default_model=DEFAULT_MODEL))
