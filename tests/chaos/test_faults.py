"""Telegram, the network, the disk or the updates themselves misbehave; the bot's process goes on.

Nothing is restarted here: after each fault the same process answers what was asked meanwhile.
OBSERVATORY_PROVE=1 has the faults last as long as the reliability plan says.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.utils import timezone

from pipeline.bot.intake import ALLOWED_UPDATES
from pipeline.models import StepRun, Task, TelegramUpdate
from pipeline.models.inbox import TaskStatus
from tests.canaries import BOT_TOKEN
from tests.chaos.cable import Cable
from tests.chaos.fleet import Bot, People, all_done, wait_for
from tests.chaos.invariants import World, assert_invariants
from tests.chaos.test_kills import DEFAULT_MODEL, ChaosCase, addresses
from tests.pipeline.bot.chatting import MAYA, TOM
from tests.proving import amount
from tests.sandbox.serving import running_sandbox

WORLD = World(default_model=DEFAULT_MODEL)
HELD_S, CUT_S = amount(4, proving=30), amount(3, proving=30)
DAY_S = 86_400.0
HALF_A_DAY = timedelta(seconds=DAY_S / 2)
OLD_POLL = {"poll": {"id": "1", "question": "?", "options": [], "total_voter_count": 0}}


@pytest.mark.chaos
class FaultTests(ChaosCase):
    def _ends_well(self, bot: Bot, people: People, world: World = WORLD) -> None:
        all_done(60 + HELD_S, people, bot)
        assert bot.starts == 1
        assert bot.stop() == 0
        assert_invariants(people, world)

    def test_a_second_poller_holds_it_up_only_while_it_is_there(self):
        with self.scene() as (bot, people):
            bot.start()
            people.say(MAYA, "prospect before end")

            def is_noticed() -> bool:
                people.post(f"/telegram/bot{BOT_TOKEN}/getUpdates", timeout=0)
                return "another process uses this bot's token" in bot.log()

            wait_for(is_noticed, 20, bot.log)
            people.say(TOM, "prospect meanwhile end")

            self._ends_well(bot, people)

    def test_a_chat_that_is_told_to_wait_keeps_no_other_waiting(self):
        with self.scene() as (bot, people):
            bot.start()
            others = [MAYA, *people.join(5)]
            people.fault(chat_id=TOM, method="sendMessage", error_code=429, retry_after=HELD_S)
            people.say(TOM, "prospect held end")
            wait_for(lambda: Task.objects.filter(update__chat_id=TOM).exists(), 10, bot.log)
            for person in others:
                people.say(person, "prospect quick end")
            for person in others:
                people.sees(person, "Draft to send", within_s=HELD_S)
            assert people.replies(TOM) == []

            people.sees(TOM, "Draft to send", within_s=HELD_S + 20)
            self._ends_well(bot, people)

    def test_a_network_that_is_cut_and_comes_back_loses_nothing(self):
        with (
            running_sandbox() as base_url,
            Cable(urlsplit(base_url).port or 0).connected() as cable,
            self.scene_at(base_url, **addresses(cable.url)) as (bot, people),
        ):
            bot.start()
            for number in range(3):
                for person in (MAYA, TOM):
                    people.say(person, f"prospect {person} {number} end")
            wait_for(lambda: bool(people.calls()), 20, bot.log)
            cable.cut()
            for person in (MAYA, TOM):
                people.say(person, f"prospect {person} while it is cut end")
            time.sleep(CUT_S)  # this long is what the fault is
            cable.mend()

            self._ends_well(bot, people)

    def test_updates_that_come_twice_and_backwards_are_answered_once_and_in_order(self):
        with self.scene() as (bot, people):
            people.post("/telegram/disorder", on=True)
            for number in range(4):
                for person in (MAYA, TOM):
                    people.say(person, f"prospect {person} {number} end")
            bot.start()
            people.say(MAYA, "prospect and one more end")

            self._ends_well(bot, people)

    def test_an_update_that_cannot_be_read_is_a_dead_letter_and_blocks_nothing(self):
        with self.scene() as (bot, people):
            strange = [
                people.inject(**OLD_POLL),
                people.inject(message={"message_id": "seven", "chat": 5, "from": []}),
                people.inject(message={"date": "never"}),
                people.inject(a_kind_to_come={"text": "\x00"}),
            ]
            people.say(MAYA, "prospect beside it end")
            bot.start()

            people.sees(MAYA, "Draft to send")
            all_done(40, people, bot)
            stored = TelegramUpdate.objects.filter(update_id__in=strange).count()
            dead = Task.objects.filter(status=TaskStatus.DEAD_LETTER)
            # What Telegram was not asked for does not come; see ALLOWED_UPDATES.
            assert stored == sum(kind in ALLOWED_UPDATES for kind in ("message", "message"))
            assert all("cannot be read" in task.error for task in dead)
            self._ends_well(bot, people, World(default_model=DEFAULT_MODEL, may_die=dead.count()))

    def test_a_clock_that_jumps_either_way_in_the_middle_of_the_work_changes_nothing(self):
        with self.scene() as (bot, people):
            tomorrow = StepRun.objects.filter(started_at__gt=timezone.now() + HALF_A_DAY)
            bot.start()
            for number, ahead_s in enumerate((DAY_S, -DAY_S, 90.0, -3600.0, 0.0)):
                for person in (MAYA, TOM):
                    people.say(person, f"prospect {person} number {number} end")
                answered = len(people.calls())
                wait_for(lambda: len(people.calls()) > answered, 20, bot.log)  # noqa: B023
                bot.set_clock(ahead_s)  # with steps of a run under way
                for person in (MAYA, TOM):
                    people.say(person, f"prospect {person} after jump {number} end")
                if ahead_s == DAY_S:  # or it might be over before anybody has read that clock
                    wait_for(tomorrow.exists, 20, bot.log)
                if number % 2:
                    all_done(60, people, bot)

            self._ends_well(bot, people, replace(WORLD, is_clock_steady=False))

    @pytest.mark.postgresql
    def test_a_database_that_breaks_off_every_connection_is_survived(self):
        with self.scene() as (bot, people):
            bot.start()
            for number in range(amount(6, proving=60)):
                for person in (MAYA, TOM):
                    people.say(person, f"prospect {person} {number} end")
                with connection.cursor() as cursor:
                    cursor.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                time.sleep(0.4)  # so often is what the fault is

            self._ends_well(bot, people)

    @pytest.mark.sqlite
    def test_a_full_disk_acknowledges_nothing_and_is_over_when_there_is_room(self):
        with connection.cursor() as cursor:
            cursor.execute("VACUUM")  # what earlier tests have left free would be room, too
        with self.scene() as (bot, people):
            bot.start()
            people.say(MAYA, "prospect before end")
            all_done(40, people, bot)
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA page_count")
                (used,) = cursor.fetchone()
            bot.limit_pages(used)
            before = people.acknowledged()
            told, number, crowd = "updates cannot be stored", 0, people.join(30)
            while told not in bot.log() and number < 200:
                number += 1
                people.say(crowd[number % len(crowd)], f"{number} {'and so on ' * 300}")
            wait_for(lambda: told in bot.log(), 20, bot.log)
            assert "database or disk is full" in bot.log()
            stored = set(TelegramUpdate.objects.values_list("update_id", flat=True))
            assert people.acknowledged() - before <= stored

            bot.limit_pages(None)
            self._ends_well(bot, people)
