"""Bent pictures on their way through the bot: each is answered, and none leaves a failed task."""

from __future__ import annotations

from observatory.sandbox.pictures import picture_size
from pipeline.models import Task
from pipeline.models.inbox import TaskStatus
from pipeline.people.pictures import NOT_READ, TOO_MANY_PIXELS, PictureRefused, prepared
from tests.pipeline.bot.chatting import BotCase
from tests.pipeline.bot.test_groups import all_handled
from tests.pipeline.cases import until
from tests.pipeline.picture_mutants import mutants
from tests.proving import amount, closing_line

AT_ONCE = 50  # in one chat each
ANSWERS = ("Draft to send", NOT_READ, TOO_MANY_PIXELS)


async def nothing_is_left() -> bool:
    return not await Task.objects.filter(ended_at=None).aexists()


def bent_photos(count: int) -> list[bytes]:
    """Return so many that look like photos to the sandbox; a fifth can be read all the same."""
    read, refused = [], []
    for one in mutants(8 * count, seed=6, kept_head=16):
        if min(picture_size(one) or (0,)) > 0:
            try:
                prepared(one)
            except PictureRefused:
                refused.append(one)
            else:
                read.append(one)  # each of these costs a whole run
    return [*read[: count // 5], *refused[: count - count // 5]]


class BentPictureTests(BotCase):
    async def test_every_bent_picture_is_answered_by_a_plan_or_a_polite_line(self):
        count = amount(50, quickly=30, proving=500)
        pictures = bent_photos(count)
        async with self.bot() as chat:
            people = []
            for picture in pictures:
                person = (await chat.post("/chat/people", first_name="Eve")).json()["id"]
                await chat.send_photo(person, picture, "What does she mean?")
                people.append(person)
                if len(people) % AT_ONCE == 0:
                    await all_handled(len(people))
            await all_handled(count)
            await until(nothing_is_left)
            sent = await chat.all_sent()

        said: dict[int, list[str]] = {person: [] for person in people}
        for row in sent:
            said[row["chat_id"]].append(row["history"][-1]["text"])
        ended = dict.fromkeys(ANSWERS, 0)
        for texts in said.values():
            (answer,) = {one for one in ANSWERS for text in texts if one in text}
            ended[answer] += 1
        assert len(people) == sum(ended.values()) == count
        assert ended["Draft to send"] > 5
        assert ended[NOT_READ] > 5
        assert not await Task.objects.exclude(status=TaskStatus.SUCCESSFUL).aexists()
        assert not await Task.objects.filter(delivery_count__gt=1).aexists()
        closing_line(f"pictures: {count} through the whole path, escaped=0, {ended}")
