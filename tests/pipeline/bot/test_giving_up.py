"""What cannot be answered is said so: in the right place, with the true count, to newcomers too."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

from asgiref.sync import sync_to_async
from django.test import SimpleTestCase

from pipeline.bot.intake import store
from pipeline.bot.outbox import Outbox
from pipeline.bot.parsing import query_id_of, reply_target_of
from pipeline.bot.static_reply import ReplyTarget
from pipeline.models import Member, TelegramUpdate
from pipeline.models.members import Access
from pipeline.queue.base import Timings
from tests.pipeline.bot.chatting import MAYA, NOOR, TOM, BotCase, Chat
from tests.pipeline.bot.kinds import GROUP, PRIVATE, message
from tests.pipeline.bot.test_groups import NAME, QUESTION, add_group, all_handled, mention
from tests.pipeline.bot.test_hostile import nothing_is_left
from tests.pipeline.bot.test_intake import BOT_ID, add
from tests.pipeline.cases import until

UNREADABLE = "I couldn't read this message"


async def failing(*_: Any) -> None:
    raise RuntimeError("it never works")


async def has_dead_letter() -> bool:
    return await TelegramUpdate.objects.filter(tasks__status="dead").aexists()


async def write_unreadable(chat: Chat, person: int) -> None:
    await chat.inject(person, text="A question", message_id="no number")


class GivenUpTests(BotCase):
    async def test_a_newcomer_hears_of_a_first_message_that_cannot_be_read(self):
        async with self.bot(ACCESS="closed") as chat:
            await write_unreadable(chat, TOM)

            assert "tried" not in await chat.sees_text(TOM, UNREADABLE)

    async def test_a_blocked_person_does_not(self):
        await Member.objects.acreate(telegram_id=NOOR, access=Access.BLOCKED)
        async with self.bot() as chat:
            await write_unreadable(chat, NOOR)
            await write_unreadable(chat, TOM)
            await chat.sees_text(TOM, UNREADABLE)
            await until(nothing_is_left)

            assert await chat.replies(NOOR) == []

    async def test_in_a_group_only_those_who_address_the_bot_are_told(self):
        await Member.objects.acreate(telegram_id=NOOR, access=Access.BLOCKED)
        async with self.bot(ACCESS="closed") as chat:
            group = await add_group(chat)
            odd: dict[str, Any] = {"chat": group, "message_id": "no number"}
            await chat.inject(TOM, **odd, text="Lunch, anybody?")
            await chat.inject(NOOR, **odd, **mention(f"{NAME} A question"))
            await chat.inject(TOM, **odd, **mention(f"{NAME} A question"))
            await chat.sees_text(group["id"], UNREADABLE)
            await until(nothing_is_left)

            assert len(await chat.replies(group["id"])) == 1

    async def test_a_bare_command_in_a_group_that_fails_every_time_is_said_to_have(self):
        self.timings = Timings(first_pause_s=0.01)
        async with self.bot() as chat:
            group = await add_group(chat)
            command = {"type": "bot_command", "offset": 0, "length": 4}
            with patch.object(Outbox, "say", failing):
                await chat.inject(MAYA, chat=group, text="/why", entities=[command])
                await chat.sees_text(group["id"], "I tried 5 times")

    async def test_a_mention_without_a_usable_offset_is_ignored_and_leaves_no_dead_letter(self):
        async with self.bot() as chat:
            group = await add_group(chat)
            offsets: list[Any] = [None, "x", {}]
            for offset in offsets:
                odd = [{"type": "mention", "offset": offset, "length": len(NAME)}]
                await chat.inject(MAYA, chat=group, text=f"{NAME} hi", entities=odd)
            await chat.inject(MAYA, chat=group, **mention(f"{NAME} {QUESTION}"))
            await chat.sees_text(group["id"], "Draft to send")
            await until(nothing_is_left)

        assert not await TelegramUpdate.objects.filter(tasks__status="dead").aexists()

    async def test_the_last_word_that_had_arrived_before_is_not_said_twice(self):
        self.timings = Timings(first_pause_s=0.01)
        same = "Bad Request: message is not modified"
        async with self.bot() as chat:
            await chat.fault(method="editMessageText", error_code=400, description=same)
            with patch.object(Outbox, "keep", failing):
                await chat.say(MAYA, QUESTION)
                await until(has_dead_letter)
                await until(nothing_is_left)

            assert len(await chat.replies(MAYA)) == 1

    async def test_the_last_word_is_tried_again_when_telegram_fails(self):
        async with self.bot() as chat:
            await chat.fault(method="sendMessage", error_code=502)
            await write_unreadable(chat, MAYA)

            await chat.sees_text(MAYA, UNREADABLE)

    async def test_it_replaces_the_placeholder_and_follows_one_that_takes_no_text(self):
        self.timings = Timings(first_pause_s=0.01)
        gone = {"error_code": 400, "description": "Bad Request: message to edit not found"}
        for fault, messages in (({"error_code": 502}, 1), (gone, 2)):
            with self.subTest(fault):
                await TelegramUpdate.objects.all().adelete()  # each sandbox counts them from 1
                async with self.bot() as chat:
                    await chat.fault(method="editMessageText", **fault)
                    with patch.object(Outbox, "keep", failing):
                        await chat.say(MAYA, QUESTION)
                        await chat.sees_text(MAYA, "I tried 5 times")

                    assert len(await chat.replies(MAYA)) == messages

    async def test_a_command_that_fails_every_time_is_said_to_have(self):
        self.timings = Timings(first_pause_s=0.01)
        async with self.bot() as chat:
            with patch.object(Outbox, "say", failing):
                await chat.say(MAYA, "/help")

                assert "I tried 5 times" in await chat.sees_text(MAYA, "couldn't answer")

    async def test_what_was_not_asked_for_is_no_dead_letter(self):
        async with self.bot() as chat:
            poll = {"id": "1", "question": "?", "options": []}
            updates = [{"update_id": 10**6, "poll": poll}, {"update_id": 10**6 + 1, "odd": [1]}]
            await sync_to_async(store)(BOT_ID, updates, add)
            await chat.say(MAYA, "/help")
            await chat.sees_text(MAYA, "/support")
            await until(nothing_is_left)

        assert not await TelegramUpdate.objects.filter(tasks__status="dead").aexists()


class PressTests(BotCase):
    async def test_a_press_that_no_handler_knows_is_answered(self):
        async with self.bot() as chat:
            # A refusal of the answer to it leaves a line in the log.
            await chat.fault(method="answerCallbackQuery", error_code=400, description="too old")
            with self.assertLogs("pipeline.bot.presses", "INFO") as said:
                await chat.press_unseen(MAYA, 77, "a button of long ago")
                await all_handled(1)

        assert "too old to be answered" in said.output[0]


class PlaceTests(SimpleTestCase):
    def target(self, **update: Any) -> ReplyTarget:
        content = update.get("message") or update["callback_query"]["message"]
        chat_id = content["chat"]["id"] if isinstance(content, dict) else None
        return reply_target_of(TelegramUpdate(raw=json.dumps(update), chat_id=chat_id))

    def test_a_line_goes_to_the_topic_and_in_a_group_to_the_message(self):
        in_topic = message(chat=GROUP, message_thread_id=7, is_topic_message=True)

        assert self.target(message=message(chat=PRIVATE)) == ReplyTarget()
        assert self.target(message=message(chat=GROUP)) == ReplyTarget(message_id=50)
        assert self.target(message=in_topic) == ReplyTarget(topic=7, message_id=50)
        assert self.target(callback_query={"message": in_topic}) == ReplyTarget(topic=7)

    def test_an_update_of_any_shape_has_a_place(self):
        for raw in ("{}", '{"message": 5}', '{"callback_query": []}'):
            with self.subTest(raw):
                row = TelegramUpdate(raw=raw)
                assert (reply_target_of(row), query_id_of(row)) == (ReplyTarget(), "")
