"""A text that Telegram's apps cut into several messages is one question with one answer."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import patch

from pipeline.models import PipelineRun, Task, TelegramUpdate
from pipeline.models.inbox import TaskKind, TaskStatus
from pipeline.queue import pastes
from tests.canaries import MEMBER_KEY
from tests.pipeline.bot.chatting import MAYA, BotCase, Chat
from tests.pipeline.bot.test_groups import NAME, add_group, mention, text_of
from tests.pipeline.cases import until


def cut(text: str) -> list[str]:
    """Return the parts in which an app sends a long text."""
    return [text[at : at + 4096] for at in range(0, len(text), 4096)]


def question(parts: int, beginning: str = "") -> str:
    """Return a text of so many parts, which begins and ends with words of its own."""
    length = 4096 * (parts - 1) + 60
    head = f"{beginning}prospect of the first part. "
    return (head + "and so on " * (length // 10))[: length - 20] + " of the last part..."


def words(text: str) -> str:
    """Return a text without spaces: those at a cut are lost on the way."""
    return "".join(text.split())


async def one_answer(chat: Chat) -> PipelineRun:
    """Return the only run, once nothing is left to do and one answer is all that is seen."""
    await chat.sees_text(MAYA, "Draft to send")

    async def is_over() -> bool:
        return not await Task.objects.filter(ended_at=None).aexists()

    await until(is_over)
    assert len(await chat.replies(MAYA)) == 1
    return await PipelineRun.objects.select_related("user_message").aget()


class PasteTests(BotCase):
    async def test_pastes_of_two_three_and_five_parts_are_one_run_each(self):
        for parts in (2, 3, 5):
            with self.subTest(parts=parts):
                await PipelineRun.objects.all().adelete()
                await TelegramUpdate.objects.all().adelete()
                text = question(parts)
                async with self.bot() as chat:
                    for part in cut(text):
                        await chat.say(MAYA, part)
                    run = await one_answer(chat)

                assert run.user_message is not None
                assert words(run.user_message.text) == words(text)
                merged = Task.objects.filter(status=TaskStatus.MERGED)
                assert await merged.acount() == parts - 1

    async def test_a_command_in_the_first_part_counts_for_all(self):
        text = question(2, "/support ")
        async with self.bot() as chat:
            for part in cut(text):
                await chat.say(MAYA, part)
            run = await one_answer(chat)

        assert run.user_message is not None
        assert words(run.user_message.text) == words(text.removeprefix("/support "))

    async def test_its_placeholder_is_there_before_the_rest_could_come(self):
        async with self.bot() as chat:
            await chat.say(MAYA, "/start")  # who is no member yet has no placeholder
            await chat.sees_text(MAYA, "co-pilot")
            with patch.object(pastes, "WAIT", timedelta(minutes=1)):
                await chat.say(MAYA, cut(question(2))[0])
                await chat.sees_text(MAYA, "One moment")
                waiting = Task.objects.filter(kind=TaskKind.MESSAGE, is_paste=True, worker="")
                assert await waiting.aexists()
            await waiting.aupdate(due_at=None)
            await chat.sees_text(MAYA, "Draft to send")
            assert len(await chat.replies(MAYA)) == 2

    async def test_a_key_in_a_later_part_is_kept_nowhere_and_all_parts_are_deleted(self):
        text = f"{question(2)} {MEMBER_KEY} and more"
        async with self.bot() as chat:
            for part in cut(text):
                await chat.say(MAYA, part)
            line = await chat.sees_text(MAYA, "looks like an API key")
            messages = await chat.messages(MAYA)

        assert "I've deleted your message." in line
        assert [message["from"]["is_bot"] for message in messages] == [True]
        assert not await PipelineRun.objects.aexists()
        async for update in TelegramUpdate.objects.all():
            assert MEMBER_KEY not in update.raw

    async def test_in_a_group_the_part_that_mentions_the_bot_brings_the_others_along(self):
        first, second = cut(question(2, f"{NAME} "))
        async with self.bot() as chat:
            group = await add_group(chat)
            await chat.inject(MAYA, chat=group, **mention(first))
            await chat.inject(MAYA, chat=group, text=second)
            await chat.sees(group["id"], lambda seen: any("Draft to send" in one for one in seen))
            asked = text_of((await chat.calls())[0])

        assert "of the last part..." in asked
        assert await PipelineRun.objects.acount() == 1
