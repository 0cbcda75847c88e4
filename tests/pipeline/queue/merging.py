"""What every backend promises of a long text that came in parts; a part of the contract."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from django.utils import timezone

from pipeline.models import Task, TelegramUpdate
from pipeline.models.inbox import TaskStatus
from pipeline.queue import pastes
from tests.pipeline.queue import rows
from tests.pipeline.queue.making import EngineMaker
from tests.pipeline.queue.rows import Hands, subject

DONE, MERGED = TaskStatus.SUCCESSFUL, TaskStatus.MERGED


class Pastes(EngineMaker):
    """A long text that came in parts: one task, once the parts have had time to come."""

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        wait = patch.object(pastes, "WAIT", timedelta(seconds=0.4))
        self.enterContext(wait)  # type: ignore[attr-defined]

    async def merged(self, tasks: list[Task], late: list[Task] | None = None) -> Hands:
        """Have tasks done, the late ones added only when the others have been seen."""
        hands = Hands()
        async with self.at_work(hands) as queue:
            await self.add(queue, *tasks)
            if late:
                await asyncio.sleep(pastes.WAIT.total_seconds() / 2)  # what they are late by
                await self.add(queue, *late)
            await rows.ended(*tasks, *(late or []))
        return hands

    async def test_the_parts_of_a_paste_are_one_task_that_holds_the_whole_text(self):
        texts = ["/support " + "a" * 4087, "b" * 4000, "the end"]
        command = {"type": "bot_command", "offset": 0, "length": 8}
        first = await rows.said("1:", texts[0], entities=[command])
        parts = [first, *[await rows.said("1:", text) for text in texts[1:]]]
        other = await rows.said("1:", "of another sender", user_id=2)

        hands = await self.merged([*parts[:2], other, parts[2]])

        assert hands.began == [subject(first), subject(other)]
        assert await statuses(parts) == [DONE, MERGED, MERGED]
        update = await update_of(first)
        message = json.loads(update.raw)["message"]
        assert message["text"] == f"{texts[0]}{texts[1]}\n{texts[2]}"
        assert message["entities"] == [command]
        assert await update.joined.acount() == 2

    async def test_a_part_that_comes_while_the_first_waits_belongs_to_it(self):
        first = await rows.said("1:", "a" * 4096)
        second = await rows.said("1:", "b" * 4096)
        third = await rows.said("1:", "c")

        await self.merged([first], [second, third])

        assert await statuses([first, second, third]) == [DONE, *[MERGED] * 2]

    async def test_only_a_long_text_waits(self):
        short, began = await rows.said("1:", "a" * 3999), timezone.now()
        long = await rows.said("2:", "b" * 4000)
        origin = {"type": "hidden_user"}
        forwarded = await rows.said("3:", "b" * 4000, forward_origin=origin)
        hands = await self.merged([long, short, forwarded])

        assert hands.began[-1] == subject(long)
        await long.arefresh_from_db()
        assert long.ended_at is not None
        assert long.ended_at - began >= pastes.WAIT

    async def test_what_is_no_part_is_a_message_of_its_own(self):
        now = int(time.time())
        command = {"entities": [{"type": "bot_command", "offset": 0, "length": 8}]}
        forwarded = {"forward_origin": {"type": "hidden_user"}}
        cases: list[dict[str, Any]] = [
            {"date": now + 3},
            command,
            forwarded,
            {"text": None},
            {"date": "now"},
        ]
        tasks = []
        for number, more in enumerate(cases, start=1):
            first = await rows.said(f"{number}:", "a" * 4096, date=now)
            second = {"text": "/support", "date": now, **more}
            tasks += [first, await rows.said(f"{number}:", **second)]

        await self.merged(tasks)

        assert await statuses(tasks) == [DONE] * len(tasks)

    async def test_a_kill_after_the_claim_leaves_the_whole_text_to_the_successor(self):
        hands = Hands()
        first, second = await rows.said("1:", "a" * 4096), await rows.said("1:", "b")
        later = await rows.said("1:", "written when the first was being answered")
        hands.play(first, rows.hanging)
        async with self.at_work(hands) as queue:
            await self.add(queue, first, second)
            await hands.has_begun(first)
            await self.add(queue, later)
            await self.kill(queue)
            hands.play(first, rows.done)
            async with self.at_work(hands):
                assert await rows.ended(first, second, later) == [DONE, MERGED, DONE]

        update = await update_of(first)
        assert json.loads(update.raw)["message"]["text"] == "a" * 4096 + "b"

    async def test_a_key_that_was_cut_in_two_is_kept_nowhere(self):
        key = "sk-ant-" + "k" * 40
        head = "a " * 2045 + " " + key[:5]
        assert len(head) == pastes.CUT_AT
        parts = [await rows.said("1:", text) for text in (head, key[5:] + " and so on")]

        await self.merged(parts)

        first, second = [await update_of(part) for part in parts]
        assert first.holds_key
        assert "kkkk" not in first.raw + second.raw


async def statuses(tasks: list[Task]) -> list[str]:
    rows = {task.pk: task.status async for task in Task.objects.all()}
    return [rows[task.pk] for task in tasks]


async def update_of(task: Task) -> TelegramUpdate:
    return await TelegramUpdate.objects.aget(tasks=task)
