"""Machines whose clocks are far apart agree on what came first: ids say so, and no clock."""

from __future__ import annotations

import pytest

from pipeline.models import Exercise, PipelineRun, Scenario
from tests.chaos.test_machines import MachinesCase

APART_S = 60
PEOPLE = 6  # of each kind: both workers get some of their messages
ANSWER = "I would ask what changed since we last spoke, and offer her two dates."


@pytest.mark.chaos
@pytest.mark.postgresql
class ExerciseTests(MachinesCase):
    def test_an_answer_and_a_question_are_told_apart_with_clocks_60_seconds_apart(self):
        Scenario.objects.create(title="Silence", difficulty=1, text="He went silent.")
        with self.machines() as machines:
            slow, fast = machines.workers
            slow.set_clock(-APART_S / 2)
            fast.set_clock(APART_S / 2)
            machines.start()
            people = machines.people
            everyone = people.join(2 * PEOPLE)
            answering, asking = everyone[:PEOPLE], everyone[PEOPLE:]
            for person in everyone:
                people.say(person, "/train")
            for person in everyone:
                people.sees(person, "🎯 Silence")
            for person in answering:
                people.say(person, ANSWER)
            for person in asking:
                people.say(person, "/support CFO, went silent")
            for person in asking:
                people.sees(person, "Draft to send")
                people.say(person, "VP of Strategy at a bank")
            for person in answering:
                people.sees(person, "of 100, +")
            for person in asking:
                people.sees(person, "Is this your answer to “Silence”")
            assert [process.stop() for process in machines.all] == [0, 0, 0]

        runs = PipelineRun.objects.values_list("pipeline", "member__telegram_id")
        assert set(runs) == {
            *(("train", person) for person in answering),
            *(("support", person) for person in asking),
        }
        assert len(runs) == len(everyone)
        judged = Exercise.objects.filter(answer__isnull=False)
        assert judged.count() == PEOPLE
        assert Exercise.objects.count() == len(everyone)
