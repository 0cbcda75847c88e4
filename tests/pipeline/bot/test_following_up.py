"""What follows an answer: replies, its buttons, and one answer to what was sent together."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.test import TransactionTestCase
from django.utils import timezone

from agents.models import AgentModelConfig, CatalogModel
from pipeline.bot.handlers import message_grouping
from pipeline.bot.intake import store
from pipeline.models import CasebookEntry, Member, PipelineRun, Press, Task, TelegramUpdate
from pipeline.models.inbox import TaskKind, TaskStatus
from pipeline.models.members import Access
from pipeline.operations.pruning import prune
from tests.pipeline.bot.chatting import MAYA, TOM, BotCase, Chat, change_in_effect, choose
from tests.pipeline.bot.test_intake import BOT_ID, add, said
from tests.pipeline.cases import until

QUESTION = "CFO of a logistics firm, went silent after the price"
WORDS = "Could you do eleven percent less?"
REGENERATE, SHORTER, SAVE, WHY = (
    *("🔄 Regenerate", "✂️ Shorter"),
    *("📌 Save to casebook", "❔ Why this model?"),
)


async def calls_of(chat: Chat, count: int) -> dict[str, str]:
    """Return what each agent was told last, once so many calls were made."""
    await chat.sees_calls(lambda calls: len(calls) == count)
    return {call["agent"]: json.dumps(call["messages"][1:]) for call in await chat.calls()}


async def is_answered(chat: Chat, person: int, count: int) -> list[dict[str, Any]]:
    """Return the bot's messages once so many of them are answers."""
    await chat.sees(person, lambda seen: sum("Draft to send" in text for text in seen) == count)
    return await chat.messages_of_the_bot(person)


async def _nothing_is_open() -> bool:
    return not await Task.objects.filter(ended_at=None).aexists()


class ReplyTests(BotCase):
    async def test_a_reply_to_an_answer_goes_on_from_it(self):
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            (answer,) = await is_answered(chat, MAYA, 1)
            await chat.sees_calls(lambda calls: len(calls) == 3)
            await chat.say(MAYA, "She wrote back: too dear", reply_to=answer["message_id"])
            await is_answered(chat, MAYA, 2)
            told = await calls_of(chat, 6)

        for agent in ("extraction", "strategist"):
            assert "<conversation>" in told[agent]
            assert QUESTION in told[agent]
            assert "Draft to send" in told[agent]
        assert "conversation" not in told["memory"]

    async def test_a_reply_to_anything_else_brings_what_it_quotes(self):
        async with self.bot() as chat:
            earlier = await chat.say(TOM, "/nonsense about the CFO")
            await chat.sees_text(TOM, "don't know that command")
            await chat.say(TOM, "What about him?", reply_to=earlier)
            await is_answered(chat, TOM, 1)
            told = await calls_of(chat, 3)

        assert "The salesperson replies to: /nonsense about the CFO" in told["strategist"]


class TogetherTests(BotCase):
    async def test_a_forwarded_message_and_its_comment_are_one_question_in_either_order(self):
        for number, is_comment_first in enumerate((True, False), start=1):
            with self.subTest(is_comment_first=is_comment_first):
                await sync_to_async(TelegramUpdate.objects.all().delete)()
                async with self.bot() as chat:
                    if is_comment_first:
                        await chat.inject(MAYA, text="Is he serious?")
                        await chat.forward(MAYA, WORDS)
                    else:
                        await chat.forward(MAYA, WORDS)
                        await chat.inject(MAYA, text="Is he serious?")
                    await is_answered(chat, MAYA, 1)
                    told = await calls_of(chat, 3)
                    seen = await chat.replies(MAYA)

                assert len(seen) == 1
                assert f"<forwarded>\\nPia Prospect: {WORDS}" in told["strategist"]
                assert "<message>\\nIs he serious?" in told["strategist"]
                assert WORDS not in told["memory"]
                assert await PipelineRun.objects.acount() == number

    async def test_a_forwarded_message_alone_is_answered_and_memory_does_not_see_it(self):
        async with self.bot() as chat:
            await chat.forward(MAYA, WORDS)
            await is_answered(chat, MAYA, 1)
            told = await calls_of(chat, 2)

        assert set(told) == {"extraction", "strategist"}
        assert (await PipelineRun.objects.aget()).pipeline == "support_forwarded"

    async def test_a_line_about_waiting_goes_when_its_message_is_answered_with_another(self):
        async with self.bot() as chat:
            await chat.inject(MAYA, text="Is he serious?")
            await chat.forward(MAYA, WORDS)
            await until(TelegramUpdate.objects.filter(joined_to__isnull=False).aexists)
            await is_answered(chat, MAYA, 1)
            joined = Task.objects.filter(update__joined_to__isnull=False, kind=TaskKind.MESSAGE)
            await until(joined.filter(status=TaskStatus.SUCCESSFUL).aexists)

            assert len(await chat.replies(MAYA)) == 1


class BelongingTests(TransactionTestCase):
    """Which messages belong together, by the rows."""

    def test_only_one_comment_one_picture_and_what_came_at_once_belong_to_it(self):
        origin = {"forward_origin": {"type": "hidden_user", "sender_user_name": "P", "date": 1}}
        photo = {"photo": [{"file_id": "a", "file_unique_id": "b", "width": 1, "height": 1}]}
        table: list[tuple[str, list[tuple[float, dict[str, Any]]], int]] = [
            ("comment, forwards", [(0, {}), (0.2, origin), (0.2, origin)], 2),
            ("forwards, comment", [(0, origin), (0.2, origin), (0.3, {})], 2),
            ("two words of the member's own", [(0, {}), (0.2, {})], 0),
            ("a second comment is new", [(0, {}), (0.1, origin), (0.1, {})], 1),
            ("too late", [(0, {}), (1.5, origin)], 0),
            ("a command", [(0, origin), (0.1, {"text": "/help"})], 0),
            ("one picture", [(0, origin | photo), (0.1, origin | photo)], 0),
            ("of an album", [(0, {}), (0.1, origin | photo | {"media_group_id": "7"})], 0),
            ("a key", [(0, origin), (0.1, {"text": "sk-ant-api03-0123456789abcdef"})], 0),
        ]
        for name, messages, joined in table:
            with self.subTest(name):
                TelegramUpdate.objects.all().delete()
                updates = [said(number, "words") for number, _ in enumerate(messages)]
                for update, (_, more) in zip(updates, messages, strict=True):
                    update["message"] |= more
                store(BOT_ID, updates, add)
                at = timezone.now()
                rows = list(TelegramUpdate.objects.order_by("pk"))
                for row, (apart_s, _) in zip(rows, messages, strict=True):
                    at += timedelta(seconds=apart_s)
                    row.received_at = at
                    row.save()

                assert len(list(message_grouping._followers(rows[0]))) == joined

    def test_what_is_being_answered_already_is_left_alone(self):
        origin = {"forward_origin": {"type": "hidden_user", "sender_user_name": "P", "date": 1}}
        store(
            BOT_ID,
            [said(1, "comment"), said(2, "words", forward_origin=origin["forward_origin"])],
            add,
        )
        Task.objects.filter(update__update_id=2).update(status=TaskStatus.RUNNING)
        first = TelegramUpdate.objects.get(update_id=1)

        message_grouping._join(first, _Held())

        assert not TelegramUpdate.objects.filter(joined_to=first).exists()


class _Held:
    """A lease of a task that nobody contests."""

    token: Any = None

    def assert_held(self) -> None:
        return None


class ButtonTests(BotCase):
    async def test_regenerate_asks_again_on_todays_configuration_once(self):
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            await is_answered(chat, MAYA, 1)
            await choose("strategist", "google/gemini-2.5-flash")
            await change_in_effect()
            await chat.press(MAYA, REGENERATE)
            await chat.press(MAYA, REGENERATE)
            await chat.sees_text(MAYA, "answered by google/gemini-2.5-flash")
            await self._all_done()

        old, new = [run async for run in PipelineRun.objects.order_by("started_at")]
        assert old.user_message_id == new.user_message_id
        assert (old.pipeline, new.pipeline) == ("support", "support")
        assert await Press.objects.acount() == 1

    async def test_a_regenerated_answer_has_its_own_buttons(self):
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            await is_answered(chat, MAYA, 1)
            for count in (2, 3):
                await chat.press(MAYA, REGENERATE)
                await is_answered(chat, MAYA, count)

        assert await PipelineRun.objects.acount() == 3

    async def test_shorter_asks_the_strategist_alone_with_the_answer_before_it(self):
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            await is_answered(chat, MAYA, 1)
            await chat.sees_calls(lambda calls: len(calls) == 3)
            await chat.press(MAYA, SHORTER)
            await is_answered(chat, MAYA, 2)
            calls = await chat.calls()

        assert [call["agent"] for call in calls[3:]] == ["strategist"]
        told = json.dumps(calls[3]["messages"])
        assert "at most half the words" in told
        assert QUESTION in told

    async def test_a_saved_case_is_in_the_casebook_once_and_others_see_it_when_it_is_approved(self):
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            await is_answered(chat, MAYA, 1)
            await chat.press(MAYA, SAVE)
            await chat.sees_text(MAYA, "Saved.")
            await chat.press(MAYA, SAVE)
            await self._all_done()
            await chat.say(TOM, "A CFO, again")
            await is_answered(chat, TOM, 1)
            unread = await calls_of(chat, 6)
            await chat.say(MAYA, "A CFO, again")
            await is_answered(chat, MAYA, 2)
            own = await calls_of(chat, 9)
            await CasebookEntry.objects.aupdate(is_approved=True)
            await chat.say(TOM, "Once more")
            await is_answered(chat, TOM, 2)
            told = await calls_of(chat, 12)

        case = await CasebookEntry.objects.select_related("member").aget()
        assert "casebook" not in unread["strategist"]
        assert f"<casebook>\\n## {QUESTION}" in own["strategist"]
        assert case.title == QUESTION
        assert case.member is not None
        assert case.member.telegram_id == MAYA
        assert f"<casebook>\\n## {QUESTION}" in told["strategist"]

    async def test_why_tells_model_reason_and_payer_of_each_step(self):
        await AgentModelConfig.objects.aupsert("strategist", "google/gemini-2.5-flash", "ana")
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            await is_answered(chat, MAYA, 1)
            await until(CatalogModel.objects.aexists)  # with the models' names
            await chat.press(MAYA, WHY)
            why = await chat.sees_text(MAYA, "Which models answered, and why")

        assert (
            "Your extraction ran on GPT-5 Mini. It's the team's default model. The team paid $0."
        ) in why
        assert "Your strategist ran on Gemini 2.5 Flash. Your team's admin chose it" in why
        assert "ana" not in why
        assert "snapshot" not in why

    async def test_anothers_press_and_a_made_up_one_do_nothing(self):
        await Member.objects.acreate(telegram_id=TOM, access=Access.APPROVED)
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            (answer,) = await is_answered(chat, MAYA, 1)
            data = answer["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
            for person, pressed in [
                (TOM, data),
                (MAYA, "run:again:nobody"),
                (MAYA, f"run:again:{'g' * 32}"),
                (MAYA, f"run:again:{'0' * 32}"),
                (MAYA, f"run:drop:{data[-32:]}"),
                (MAYA, "run:"),
            ]:
                await chat.press_unseen(person, answer["message_id"], pressed)
            await self._all_done(presses=6)

        assert await PipelineRun.objects.acount() == 1
        assert not await Press.objects.aexists()
        assert not await Task.objects.filter(status=TaskStatus.DEAD_LETTER).aexists()

    async def test_an_answer_whose_texts_were_pruned_can_still_be_explained_and_no_more(self):
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            await is_answered(chat, MAYA, 1)
            await until(_nothing_is_open)
            await until(CatalogModel.objects.aexists)
            await sync_to_async(prune)(timezone.now(), rest=lambda _: None)
            for label in (REGENERATE, SHORTER, SAVE, WHY):
                await chat.press(MAYA, label)
            await chat.sees_text(MAYA, "strategist ran on GPT-5 Mini")
            await self._all_done(presses=4)

        assert await PipelineRun.objects.filter(user_message=None, answer=None).acount() == 1
        assert await PipelineRun.objects.acount() == 1
        assert not await CasebookEntry.objects.aexists()

    async def test_cancel_stops_what_a_button_began(self):
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            await is_answered(chat, MAYA, 1)
            await choose("strategist", "sandbox/hang")
            await change_in_effect()
            await chat.press(MAYA, REGENERATE)
            await chat.sees_calls(lambda calls: any("hang" in call["model"] for call in calls))
            await chat.say(MAYA, "/cancel")
            await chat.sees_text(MAYA, "Stopped. There's no answer")

    async def _all_done(self, presses: int = 2) -> None:
        """Return once the presses have come in and nothing is left to do."""
        pressed = Task.objects.filter(update__kind="callback_query", kind=TaskKind.CONTROL)
        ended = pressed.filter(ended_at__isnull=False)
        others = Task.objects.filter(ended_at=None).exclude(kind=TaskKind.STEP)

        async def is_done() -> bool:
            return await ended.acount() == presses and not await others.aexists()

        await until(is_done)
