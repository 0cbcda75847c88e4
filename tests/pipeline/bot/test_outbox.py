"""What the bot says in return: decided once, said once, and offered where nobody knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from django.test import override_settings
from telegram.ext import ExtBot

from pipeline.bot.alerts import Alerts
from pipeline.bot.limiter import ChatRateLimiter
from pipeline.bot.messages import Chunk
from pipeline.bot.outbox import Outbox
from pipeline.bot.placeholders import MAX_TRIES
from pipeline.bot.static_reply import ReplyTarget
from pipeline.journal.fencing import Superseded, TaskLease
from pipeline.models import Member, OutgoingMessage, SentAlert, Task, TelegramUpdate
from pipeline.models.inbox import SendStatus, TaskKind, TaskStatus
from pipeline.models.members import Access
from tests.canaries import BOT_TOKEN
from tests.pipeline.bot.chatting import MAYA, NOOR, TOM, BotCase, Chat
from tests.pipeline.bot.relay import Relay
from tests.sandbox.serving import running_sandbox

FOR_EVER = 1_000_000


async def statuses() -> list[str]:
    return [row.status async for row in OutgoingMessage.objects.order_by("number")]


class OutboxCase(BotCase):
    """Tests with an outbox for one update of Maya's, and the chat it goes to."""

    @asynccontextmanager
    async def outbox(
        self, target: ReplyTarget | None = None, *, through: str = ""
    ) -> AsyncIterator[tuple[Outbox, Chat]]:
        with running_sandbox() as base_url:
            async with self.outbox_at(base_url, through or base_url, target) as both:
                yield both

    @asynccontextmanager
    async def outbox_at(
        self, base_url: str, telegram: str, target: ReplyTarget | None = None
    ) -> AsyncIterator[tuple[Outbox, Chat]]:
        await TelegramUpdate.objects.all().adelete()  # of an earlier subtest
        update = await TelegramUpdate.objects.acreate(
            bot_id=1, update_id=1_000, kind="message", raw="{}", chat_id=MAYA, user_id=MAYA
        )
        self.task = await Task.objects.acreate(
            kind=TaskKind.CONTROL, update=update, status=TaskStatus.RUNNING, token=uuid4()
        )
        assert self.task.token is not None
        chat = Chat(base_url)
        limiter, address = ChatRateLimiter(), f"{telegram}/telegram/bot"
        async with ExtBot(BOT_TOKEN, base_url=address, rate_limiter=limiter) as bot:
            # Telegram lets a bot write to those who have written to it.
            limiter.note(await chat.say(MAYA, "hello"))
            lease = TaskLease(self.task.pk, self.task.token)
            yield Outbox(bot, update, target or ReplyTarget(), lease), chat
        await chat.aclose()


class OnceTests(OutboxCase):
    async def test_a_placeholder_is_shown_once_and_becomes_the_answer(self):
        async with self.outbox() as (outbox, chat):
            for _ in range(2):
                await outbox.show_placeholder("One moment")
            await outbox.keep([("The answer", []), ("Its second part", [])])
            for _ in range(2):
                await outbox.deliver()

            assert await chat.replies(MAYA) == ["The answer", "Its second part"]
        assert await statuses() == [SendStatus.SENT, SendStatus.SENT]

    async def test_what_was_decided_first_is_what_is_said(self):
        async with self.outbox() as (outbox, chat):
            await outbox.keep([("first", [])])
            await outbox.keep([("second", [])])
            await outbox.deliver()

            assert await chat.replies(MAYA) == ["first"]

    async def test_whoever_has_lost_the_task_says_nothing(self):
        async with self.outbox() as (outbox, chat):
            await outbox.show_placeholder("One moment")
            await Task.objects.aupdate(token=uuid4())
            for speak in (
                outbox.say("too late"),
                outbox.edit_placeholder("too late"),
                outbox.show_placeholder("too late"),
            ):
                with pytest.raises(Superseded):
                    await speak

            assert await chat.replies(MAYA) == ["One moment"]

    async def test_an_answer_whose_placeholder_was_deleted_is_sent_anew(self):
        async with self.outbox() as (outbox, chat):
            await outbox.show_placeholder("One moment")
            gone = "Bad Request: message to edit not found"
            await chat.fault(method="editMessageText", error_code=400, description=gone)
            await outbox.say("The answer")

            assert await chat.replies(MAYA) == ["One moment", "The answer"]


class TooLongTests(OutboxCase):
    """What Telegram counts longer than we do, as it does after a conversion of entities."""

    async def test_an_answer_that_telegram_finds_too_long_comes_as_a_file(self):
        async with self.outbox() as (outbox, chat):
            await outbox.show_placeholder("One moment")
            await chat.fault(
                method="editMessageText",
                error_code=400,
                description="Bad Request: MESSAGE_TOO_LONG",
            )
            await outbox.keep([("The answer", [])], [[("Why?", "why")]])
            for _ in range(2):
                await outbox.deliver()
            line, file = await chat.messages_of_the_bot(MAYA)

        assert line["text"] == "This answer is too long for a message, so I'm sending it as a file."
        assert file["document"]["file_size"] == len("The answer")
        assert file["reply_markup"]["inline_keyboard"][0][0]["text"] == "Why?"
        assert await statuses() == [SendStatus.SENT]

    async def test_a_further_message_that_is_too_long_comes_as_a_file_in_its_place(self):
        async with self.outbox() as (outbox, chat):
            await outbox.show_placeholder("One moment")
            await chat.fault(
                method="sendMessage", error_code=400, description="Bad Request: message is too long"
            )
            await outbox.keep([("One", []), ("Two", []), ("Three", [])])
            await outbox.deliver()
            one, two, three = await chat.messages_of_the_bot(MAYA)

        assert [one["text"], two["document"]["file_name"], three["text"]] == [
            "One",
            "answer-2.txt",
            "Three",
        ]

    async def test_such_a_file_that_was_cut_off_on_its_way_is_offered(self):
        async with self.outbox() as (outbox, chat):
            await outbox.keep([("The answer", [])])
            await OutgoingMessage.objects.aupdate(
                status=SendStatus.SENDING, file_name="answer-1.txt"
            )
            await outbox.deliver()

            assert "I was interrupted" in (await chat.replies(MAYA))[0]
        assert await statuses() == [SendStatus.AMBIGUOUS]


class TopicTests(OutboxCase):
    """A topic that was closed or deleted while the answer was being made."""

    async def test_the_answer_goes_to_the_chat_without_the_topic(self):
        for number, description in enumerate(
            (
                "Bad Request: message thread not found",
                "Bad Request: TOPIC_CLOSED",
                "Bad Request: TOPIC_DELETED",
            )
        ):
            with self.subTest(description):
                async with self.outbox(ReplyTarget(topic=7, message_id=1)) as (outbox, chat):
                    await chat.fault(method="sendMessage", error_code=400, description=description)
                    await outbox.say(f"The answer {number}")
                    (answer,) = await chat.messages_of_the_bot(MAYA)

                assert answer["text"] == f"The answer {number}"
                assert answer["reply_to_message"]["message_id"] == 1

    async def test_a_reply_that_leads_back_to_a_closed_topic_is_sent_without_it(self):
        async with self.outbox(ReplyTarget(topic=7, message_id=1)) as (outbox, chat):
            await chat.fault(
                method="sendMessage", error_code=400, description="TOPIC_CLOSED", count=2
            )
            await outbox.say("The answer")
            (answer,) = await chat.messages_of_the_bot(MAYA)

        assert "reply_to_message" not in answer

    async def test_a_placeholder_in_a_closed_topic_is_followed_by_the_answer(self):
        async with self.outbox(ReplyTarget(topic=7)) as (outbox, chat):
            await outbox.show_placeholder("One moment")
            for method in ("editMessageText", "sendMessage"):
                await chat.fault(method=method, error_code=400, description="TOPIC_CLOSED")
            await outbox.say("The answer")

            assert await chat.replies(MAYA) == ["One moment", "The answer"]

    async def test_any_other_refusal_stays_one(self):
        async with self.outbox(ReplyTarget(topic=7)) as (outbox, chat):
            await chat.fault(method="sendMessage", error_code=400, description="CHAT_RESTRICTED")
            await outbox.say("The answer")

        assert await statuses() == [SendStatus.REFUSED]


class LongTests(OutboxCase):
    async def test_what_takes_more_than_four_messages_comes_as_a_file_too(self):
        chunks: list[Chunk] = [(f"part {number} ", []) for number in range(5)]
        async with self.outbox() as (outbox, chat):
            for _ in range(2):
                await outbox.keep(chunks)
                await outbox.deliver()
            *parts, file = await chat.messages_of_the_bot(MAYA)

        assert [part["text"] for part in parts] == [text.strip() for text, _ in chunks]
        assert file["document"]["file_name"] == "answer.txt"
        assert file["document"]["file_size"] == len("".join(text for text, _ in chunks))

    async def test_a_file_that_was_cut_off_on_its_way_is_left_alone(self):
        async with self.outbox() as (outbox, chat):
            await outbox.keep([("part", [])] * 5)
            await OutgoingMessage.objects.exclude(file_name="").aupdate(status=SendStatus.SENDING)
            await outbox.deliver()

            assert len(await chat.messages_of_the_bot(MAYA)) == 5

    async def test_the_buttons_are_beneath_the_last_message(self):
        async with self.outbox() as (outbox, chat):
            await outbox.keep([("one", []), ("two", [])], [[("Press", "data")]])
            await outbox.deliver()
            one, two = await chat.messages_of_the_bot(MAYA)

        assert "reply_markup" not in one
        assert two["reply_markup"]["inline_keyboard"] == [
            [{"text": "Press", "callback_data": "data"}]
        ]


class TroubleTests(OutboxCase):
    async def test_a_server_error_is_tried_again(self):
        async with self.outbox() as (outbox, chat):
            await chat.fault(method="sendMessage", error_code=502, count=2)
            await outbox.say("The answer")

            assert await chat.replies(MAYA) == ["The answer"]

    async def test_what_is_refused_is_told_with_an_incident(self):
        async with self.outbox() as (outbox, chat):
            await outbox.show_placeholder("One moment")
            await outbox.keep([("The answer", []), ("Its second part", [])])
            await chat.fault(method="sendMessage", error_code=400)
            await outbox.deliver()
            answer, line = await chat.replies(MAYA)

        assert answer == "The answer"
        assert "I couldn't send the rest of this answer" in line
        assert await statuses() == [SendStatus.SENT, SendStatus.REFUSED]

    async def test_a_member_who_blocked_the_bot_is_left_alone(self):
        async with self.outbox() as (outbox, chat):
            await chat.fault(method="sendMessage", error_code=403, count=FOR_EVER)
            await outbox.say("The answer")

            assert await chat.replies(MAYA) == []
        assert await statuses() == [SendStatus.REFUSED]

    async def test_a_message_that_may_have_arrived_is_not_sent_again_but_offered(self):
        with running_sandbox() as base_url:
            async with Relay(base_url).running() as relay:
                relay.hold(lambda method, fields: fields.get("text") == "The answer")
                async with self.outbox_at(base_url, relay.url) as (outbox, chat):
                    await asyncio.wait_for(outbox.say("The answer"), 15)
                    (line,) = await chat.messages_of_the_bot(MAYA)

        assert "I was interrupted" in line["text"]
        (button,) = line["reply_markup"]["inline_keyboard"][0]
        row = await OutgoingMessage.objects.aget()
        assert (button["callback_data"], row.status) == (f"again:{row.pk}", SendStatus.AMBIGUOUS)


class LostTests(OutboxCase):
    """What a kill leaves in the chat, with no row that leads to it."""

    async def lost(self, **more: Any) -> None:
        """Have it be as after a kill between sending and noting the id."""
        row = OutgoingMessage.objects.order_by("-number")
        await OutgoingMessage.objects.filter(pk=(await row.afirst() or _none()).pk).aupdate(
            status=SendStatus.SENDING, message_id=None, **more
        )

    async def test_an_answer_that_arrived_is_found_and_nothing_is_said_of_it(self):
        async with self.outbox() as (outbox, chat):
            await outbox.say("The answer")
            await self.lost()
            await chat.say(TOM, "meanwhile, elsewhere")
            await outbox.deliver()
            (message,) = await chat.messages_of_the_bot(MAYA)

        row = await OutgoingMessage.objects.aget()
        assert (row.status, row.message_id) == (SendStatus.SENT, message["message_id"])

    async def test_an_answer_that_never_left_is_sent_and_nothing_is_said_of_it(self):
        async with self.outbox() as (outbox, chat):
            await outbox.say("The answer")
            (gone,) = await chat.messages_of_the_bot(MAYA)
            await self.lost()
            await chat.delete(MAYA, gone["message_id"])
            await outbox.deliver()

            assert await chat.replies(MAYA) == ["The answer"]
        assert await statuses() == [SendStatus.SENT]

    async def test_a_file_that_arrived_is_found_and_one_that_never_left_is_sent(self):
        # Telegram takes no more than 32 kB of text in an edit; the file has more.
        chunks: list[Chunk] = [("ü" * 4000, [])] * 5
        for has_arrived in (True, False):
            with self.subTest(has_arrived=has_arrived):
                async with self.outbox() as (outbox, chat):
                    await outbox.keep(chunks)
                    await outbox.deliver()
                    *_, file = await chat.messages_of_the_bot(MAYA)
                    await self.lost()
                    if not has_arrived:
                        await chat.delete(MAYA, file["message_id"])
                    await outbox.deliver()
                    seen = await chat.messages_of_the_bot(MAYA)

                assert ["document" in message for message in seen] == [False] * 5 + [True]
                assert (seen[-1] == file) == has_arrived
                assert set(await statuses()) == {SendStatus.SENT}

    async def test_a_text_that_never_left_and_is_too_long_leaves_no_marker_behind(self):
        async with self.outbox() as (outbox, chat):
            await outbox.say("The answer")
            (gone,) = await chat.messages_of_the_bot(MAYA)
            await self.lost()
            await chat.delete(MAYA, gone["message_id"])
            # The first such edit looks for the lost message, the second is that of the marker.
            too_long = {"error_code": 400, "description": "Bad Request: MESSAGE_TOO_LONG"}
            await chat.fault(method="editMessageText", count=2, **too_long)
            await outbox.deliver()
            line, file = await chat.messages_of_the_bot(MAYA)

        assert line["text"] == "This answer is too long for a message, so I'm sending it as a file."
        assert "document" in file

    async def test_the_second_part_of_an_answer_is_found_beside_the_first(self):
        async with self.outbox() as (outbox, chat):
            await outbox.keep([("The answer", []), ("Its second part", [])])
            await outbox.deliver()
            await self.lost()
            await outbox.deliver()

            assert await chat.replies(MAYA) == ["The answer", "Its second part"]

    async def test_a_placeholder_that_was_lost_is_removed_by_the_next(self):
        async with self.outbox() as (outbox, chat):
            await outbox.show_placeholder("One moment")
            await self.lost()
            await outbox.show_placeholder("One moment")
            (left,) = await chat.messages_of_the_bot(MAYA)
            await outbox.say("The answer")

            assert await chat.replies(MAYA) == ["The answer"]
        assert (await OutgoingMessage.objects.aget()).message_id == left["message_id"]

    async def test_a_placeholder_that_was_lost_becomes_an_answer_that_comes_without_one(self):
        async with self.outbox() as (outbox, chat):
            await outbox.show_placeholder("One moment")
            await self.lost()
            await outbox.say("The answer")

            assert await chat.replies(MAYA) == ["The answer"]

    async def test_a_line_about_waiting_that_was_lost_goes_with_what_it_was_about(self):
        async with self.outbox() as (outbox, chat):
            await outbox.show_placeholder("Queued")
            await self.lost()
            await outbox.take_back_placeholder("One moment")

            assert await chat.replies(MAYA) == []

    @asynccontextmanager
    async def announcing(self) -> AsyncIterator[tuple[Relay, Outbox, Chat, OutgoingMessage]]:
        """Yield the row of an announced placeholder whose id is noted only by saving it again.

        At the end the chat must show the answer alone.
        """
        with running_sandbox() as base_url:
            async with (
                Relay(base_url).running() as relay,
                self.outbox_at(base_url, relay.url) as (outbox, chat),
            ):
                await outbox.show_placeholder("Queued")
                announced = await OutgoingMessage.objects.aget()
                await self.lost()
                yield relay, outbox, chat, announced
                await outbox.say("The answer")
                assert await chat.replies(MAYA) == ["The answer"]

    async def test_a_placeholder_announced_while_another_waits_for_its_turn_is_the_only_one(self):
        async with self.announcing() as (relay, outbox, chat, announced):
            await chat.fault(method="sendMessage", error_code=429, retry_after=1)
            showing = asyncio.create_task(outbox.show_placeholder("One moment"))
            await relay.passed("sendMessage", times=2)
            await announced.asave()
            await showing

    async def test_a_placeholder_announced_while_another_is_on_its_way_is_the_only_one(self):
        async with self.announcing() as (relay, outbox, _, announced):
            relay.hold(lambda method, fields: fields.get("text") == "One moment")
            showing = asyncio.create_task(outbox.show_placeholder("One moment"))
            await asyncio.wait_for(relay.held.wait(), 15)
            await announced.asave()
            relay.release()
            await showing

    async def test_with_too_many_messages_it_could_be_a_button_is_offered(self):
        async with self.outbox() as (outbox, chat):
            await outbox.say("The answer")
            await self.lost(sent_after=1)
            for number in range(MAX_TRIES + 1):
                await chat.say(TOM, f"meanwhile {number}")
            (gone,) = await chat.messages_of_the_bot(MAYA)
            await chat.delete(MAYA, gone["message_id"])
            await outbox.deliver()
            (line,) = await chat.messages_of_the_bot(MAYA)

        assert "I was interrupted" in line["text"]
        assert line["reply_markup"]["inline_keyboard"]

    async def test_of_placeholders_of_several_chats_that_were_lost_at_kills_none_is_left(self):
        people = (TOM, NOOR, TOM, NOOR)
        async with self.outbox() as (outbox, chat):
            for person in (TOM, NOOR):
                await chat.say(person, "hello")
            others = [await self.beside(outbox, *them) for them in enumerate(people)]
            for _ in range(2):
                for one in (outbox, *others):
                    await one.show_placeholder("One moment")
                await OutgoingMessage.objects.aupdate(status=SendStatus.SENDING, message_id=None)
            for one in (outbox, *others):
                await one.show_placeholder("One moment")

            assert await chat.replies(MAYA) == ["One moment"]
            for person in (TOM, NOOR):
                assert await chat.replies(person) == ["One moment"] * 2

    async def test_a_reply_that_was_found_and_not_noted_is_found_again(self):
        async with self.outbox() as (outbox, chat):
            await outbox.say("The answer")
            for _ in range(2):
                await self.lost()
                await outbox.deliver()

            assert await chat.replies(MAYA) == ["The answer"]

    async def beside(self, outbox: Outbox, number: int, person: int) -> Outbox:
        """Return the outbox of another update, of the same bot."""
        update = await TelegramUpdate.objects.acreate(
            bot_id=1, update_id=2_000 + number, kind="message", raw="{}", chat_id=person
        )
        return Outbox(outbox._bot, update, ReplyTarget(), outbox._lease, found=outbox._found)

    async def alert(self, outbox: Outbox) -> None:
        """Alert the operators by the outbox's bot."""
        alerts = Alerts()
        alerts.use(outbox._bot)
        assert await alerts.send("Look at this.")

    async def test_a_reply_that_was_lost_in_the_operators_chat_is_found_beside_an_alert(self):
        async with self.outbox() as (outbox, chat):
            with override_settings(OPERATOR_CHAT_ID=MAYA):
                await outbox.show_placeholder("One moment")
                await self.alert(outbox)
                await self.lost()
                await outbox.say("The answer")

            assert await chat.replies(MAYA) == ["The answer", "🔔 Look at this."]

    async def test_a_reply_and_an_alert_that_were_both_lost_leave_one_answer(self):
        async with self.outbox() as (outbox, chat):
            with override_settings(OPERATOR_CHAT_ID=MAYA):
                await self.alert(outbox)
                await outbox.say("The answer")
            await self.lost(sent_after=1)
            await SentAlert.objects.aupdate(message_id=None)
            await outbox.deliver()

            assert await chat.replies(MAYA) == ["The answer"]

    async def test_what_others_rows_have_is_left_alone(self):
        async with self.outbox() as (outbox, chat):
            await outbox.say("The answer")
            (message,) = await chat.messages_of_the_bot(MAYA)
            update = await TelegramUpdate.objects.acreate(
                bot_id=1, update_id=1_001, kind="message", raw="{}", chat_id=MAYA, user_id=MAYA
            )
            await OutgoingMessage.objects.aupdate(update=update)
            await OutgoingMessage.objects.acreate(
                update=await TelegramUpdate.objects.aget(tasks=self.task),
                number=0,
                status=SendStatus.SENDING,
                sent_after=message["message_id"] - 1,
            )
            await outbox.say("Another answer")

            assert await chat.replies(MAYA) == ["The answer", "Another answer"]


def _none() -> OutgoingMessage:
    raise AssertionError("nothing was sent")


class ButtonTests(BotCase):
    async def test_a_press_shows_the_message_in_place_and_only_to_its_owner(self):
        async with self.bot() as chat:
            await chat.say(MAYA, "/help")
            await chat.sees_text(MAYA, "/support")
            row = await OutgoingMessage.objects.aget()
            # As a kill between sending and noting it leaves them behind.
            lost = {"status": SendStatus.SENDING, "message_id": None, "sent_after": None}
            await OutgoingMessage.objects.aupdate(**lost)
            await Task.objects.aupdate(status=TaskStatus.READY, ended_at=None)
            await chat.sees(MAYA, lambda seen: len(seen) == 2 and "I was interrupted" in seen[1])
            line = (await chat.messages_of_the_bot(MAYA))[-1]

            for _ in range(2):
                await chat.press_unseen(MAYA, line["message_id"], f"again:{row.pk}")
                await chat.sees(MAYA, lambda seen: seen == [row.text, row.text])
            for data in (f"again:{row.pk}", "again:nonsense", "again:" + "9" * 40):
                message = await self._a_line_for(chat, TOM)
                await chat.press_unseen(TOM, message["message_id"], data)
            await _all_have_ended()

            assert row.text not in (await chat.replies(TOM))[1:]

    async def test_somebody_who_is_blocked_is_shown_nothing(self):
        async with self.bot() as chat:
            await chat.say(MAYA, "/help")
            await chat.sees_text(MAYA, "/support")
            await Member.objects.filter(telegram_id=MAYA).aupdate(access=Access.BLOCKED)
            line = (await chat.messages_of_the_bot(MAYA))[0]
            row = await OutgoingMessage.objects.aget()
            await OutgoingMessage.objects.aupdate(text="for members only")
            await chat.press_unseen(MAYA, line["message_id"], f"again:{row.pk}")
            await _all_have_ended(count=2)

            assert "for members only" not in await chat.replies(MAYA)

    async def _a_line_for(self, chat: Chat, person: int) -> dict[str, Any]:
        if not await chat.replies(person):
            await chat.say(person, "/start")
            await chat.sees_text(person, "co-pilot")
        return (await chat.messages_of_the_bot(person))[0]


async def _all_have_ended(*, count: int = 1) -> None:
    async def has_ended() -> bool:
        is_there = await Task.objects.acount() >= count
        return is_there and not await Task.objects.filter(ended_at=None).aexists()

    deadline = asyncio.get_running_loop().time() + 10
    while not await has_ended():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)
