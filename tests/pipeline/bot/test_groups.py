"""Who is answered where: groups, topics, and all who write without being a member."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import patch

from telegram import Update

from pipeline.bot import polling, texts
from pipeline.models import Member, PipelineRun, Task
from pipeline.models.inbox import TaskStatus
from pipeline.models.members import Access
from tests.pipeline.bot.chatting import MAYA, NOOR, BotCase, Chat
from tests.pipeline.cases import until

NAME = "@observatory_sandbox_bot"
QUESTION = "CFO of a logistics firm, went silent"
PERSON = {"id": MAYA, "is_bot": False, "first_name": "Maya"}


def mention(text: str) -> dict[str, Any]:
    """Return a text in which the bot is mentioned, as Telegram marks it."""
    before = text[: text.index(NAME)].encode("utf-16-le")
    return {
        "text": text,
        "entities": [{"type": "mention", "offset": len(before) // 2, "length": len(NAME)}],
    }


def text_of(call: dict[str, Any]) -> str:
    """Return what an agent was told, without its own instructions."""
    return "\n".join(str(message["content"]) for message in call["messages"][1:])


def has_so_many(count: int, seen: list[str]) -> bool:
    return len(seen) == count


async def add_group(chat: Chat) -> dict[str, Any]:
    return dict((await chat.post("/chat/groups", title="Sales")).json())


async def all_handled(count: int) -> None:
    """Return once so many updates have been handled."""
    ended = Task.objects.filter(update__isnull=False, ended_at__isnull=False)

    async def are_handled() -> bool:
        return await ended.acount() >= count

    await until(are_handled)


class GroupTests(BotCase):
    async def test_a_mention_a_reply_and_a_command_are_answered_and_nothing_else(self):
        async with self.bot() as chat:
            group = await add_group(chat)
            await chat.inject(MAYA, chat=group, text="Lunch, anybody?")
            await chat.inject(MAYA, chat=group, text="ask @somebody_else", entities=[])
            await chat.inject(MAYA, chat=group, message_id=51, **mention(f"🦊 {NAME} {QUESTION}"))
            await chat.sees(group["id"], lambda seen: any("Draft to send" in one for one in seen))
            (answer,) = await chat.messages_of_the_bot(group["id"])
            await chat.inject(MAYA, chat=group, text="And her board?", reply_to_message=answer)
            await chat.sees(
                group["id"], lambda seen: sum("Draft to send" in one for one in seen) == 2
            )
            told = [text_of(call) for call in await chat.calls()]

        assert await PipelineRun.objects.acount() == 2
        assert f"<message>\n🦊  {QUESTION}\n</message>" in told[0]
        assert not any("Lunch" in text or NAME in text for text in told)

    async def test_the_answer_in_a_group_is_a_reply_to_the_question(self):
        async with self.bot() as chat:
            group = await add_group(chat)
            await chat.inject(MAYA, chat=group, **mention(f"{NAME} {QUESTION}"))
            await chat.sees(group["id"], lambda seen: any("Draft to send" in one for one in seen))
            (known,) = await chat.messages_of_the_bot(group["id"])
            # The sandbox knows no messages of people in groups, so a known number stands for one.
            question = known["message_id"]
            await chat.inject(MAYA, chat=group, message_id=question, **mention(f"{NAME} and now?"))
            await chat.sees(group["id"], lambda seen: len(seen) == 2 and "Draft" in seen[1])
            _, answer = await chat.messages_of_the_bot(group["id"])

        assert answer["reply_to_message"]["message_id"] == question

    async def test_what_is_a_members_own_is_not_shown_in_a_group(self):
        async with self.bot() as chat:
            group = await add_group(chat)
            for number, name in enumerate(("memory", "settings", "forget", "start"), start=1):
                length = len(name) + 1
                entity = {"type": "bot_command", "offset": 0, "length": length}
                await chat.inject(MAYA, chat=group, text=f"/{name}", entities=[entity])
                await chat.sees(group["id"], partial(has_so_many, number))
            seen = await chat.replies(group["id"])

        assert all("in our private chat" in one for one in seen)

    async def test_each_topic_has_its_own_order(self):
        async with self.bot(DEFAULT_MODEL="sandbox/latency-300") as chat:
            group = await add_group(chat)
            for topic in (7, 8):
                await chat.inject(
                    MAYA,
                    chat=group | {"is_forum": True},
                    message_thread_id=topic,
                    is_topic_message=True,
                    **mention(f"{NAME} {QUESTION} {topic}"),
                )
            await chat.sees(
                group["id"], lambda seen: sum("Draft to send" in one for one in seen) == 2
            )

        lanes = [
            lane async for lane in Task.objects.exclude(lane="").values_list("lane", flat=True)
        ]
        assert sorted(lanes) == [f"{group['id']}:7", f"{group['id']}:8"]


class MembershipTests(BotCase):
    async def test_only_what_a_member_has_written_themselves_is_answered(self):
        channel = {"id": -1001, "type": "channel", "title": "News"}
        anonymous = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
        from_maya = {"type": "user", "sender_user": PERSON, "date": 1_700_000_000}
        await Member.objects.acreate(telegram_id=MAYA, name="Maya", access=Access.APPROVED)
        await Member.objects.acreate(telegram_id=NOOR, name="Noor", access=Access.BLOCKED)
        # Telegram is asked for none of these; should they come all the same, they are nobody's.
        self.enterContext(patch.object(polling, "ALLOWED_UPDATES", Update.ALL_TYPES))
        async with self.bot(ACCESS="closed") as chat:
            group = await add_group(chat)
            asks = mention(f"{NAME} {QUESTION}")
            usual = {"message_id": 9, "date": 1_700_000_000, "chat": group}
            await chat.post("/telegram/updates", channel_post={**usual, "chat": channel, **asks})
            await chat.post(
                "/telegram/updates",
                message={**usual, "from": anonymous, "sender_chat": group, **asks},
            )
            await chat.post(
                "/telegram/updates",
                message={**usual, "from": anonymous, "sender_chat": channel, **asks},
            )
            await chat.post("/telegram/updates", edited_message={**usual, "from": PERSON, **asks})
            await chat.post(
                "/telegram/updates",
                edited_message={
                    **usual,
                    "from": PERSON,
                    "chat": {"id": MAYA, "type": "private"},
                    "text": "/start",
                    "entities": [{"type": "bot_command", "offset": 0, "length": 6}],
                },
            )
            await chat.post(
                "/telegram/updates",
                inline_query={"id": "1", "from": PERSON, "query": QUESTION, "offset": ""},
            )
            await chat.inject(NOOR, text=QUESTION, forward_origin=from_maya)  # a member's words
            await all_handled(7)
            await chat.sees_text(NOOR, "can't use this bot")
            seen = [await chat.replies(MAYA), await chat.replies(group["id"])]
            assert await chat.calls() == []

        assert seen == [[], [texts.ANONYMOUS] * 2]
        assert not await PipelineRun.objects.aexists()
        assert not await Task.objects.filter(status=TaskStatus.DEAD_LETTER).aexists()
        known = [row async for row in Member.objects.values_list("telegram_id", flat=True)]
        assert sorted(known) == [MAYA, NOOR]

    async def test_who_is_blocked_is_refused_at_the_next_message_and_the_next_press(self):
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            await chat.sees_text(MAYA, "Draft to send")
            await Member.objects.filter(telegram_id=MAYA).aupdate(access=Access.BLOCKED)
            await chat.press(MAYA, "🔄 Regenerate")
            await chat.say(MAYA, "/forget")
            await chat.sees_text(MAYA, "can't use this bot")
            await chat.press_unseen(MAYA, 1, "mine:all")
            await all_handled(4)

        assert await PipelineRun.objects.acount() == 1
        assert (await PipelineRun.objects.aget()).member_id is not None
