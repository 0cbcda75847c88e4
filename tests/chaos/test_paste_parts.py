"""The parts of a paste come in through two processes, and are one question all the same."""

from __future__ import annotations

import pytest

from pipeline.models import PipelineRun, Task
from pipeline.models.inbox import TaskStatus
from tests.chaos.fleet import all_done
from tests.chaos.test_machines import MachinesCase
from tests.pipeline.bot.test_pastes import cut, question

PARTS = (2, 3, 5)


@pytest.mark.chaos
@pytest.mark.postgresql
class PasteTests(MachinesCase):
    def test_parts_that_come_through_two_webhook_processes_are_one_run(self):
        with self.machines(has_webhook=True, webs=2) as machines:
            people = machines.people
            machines.start()
            chats = people.join(len(PARTS))
            for person, parts in zip(chats, PARTS, strict=True):
                for part in cut(question(parts)):
                    people.say(person, part)
            all_done(120, people, machines.workers[0])
            for person in chats:
                assert len(people.replies(person)) == 1
                assert "Draft to send" in people.replies(person)[0]
            assert [process.stop() for process in machines.all] == [0] * 4

        assert PipelineRun.objects.count() == len(PARTS)
        merged = Task.objects.filter(status=TaskStatus.MERGED)
        assert merged.count() == sum(PARTS) - len(PARTS)
