"""How people come in, whose key pays for them, and how much they may ask for."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.db.models import F
from django.utils import timezone

from agents.llm.keys import fingerprint
from pipeline.models import (
    Budget,
    BudgetPeriod,
    Invite,
    LLMCall,
    Member,
    PastedKey,
    PipelineRun,
    Task,
    TelegramUpdate,
)
from pipeline.models.budgets import Scope
from pipeline.models.inbox import TaskKind, TaskStatus
from pipeline.models.members import Access
from pipeline.people.admission import approve, greet, invite
from pipeline.queue.backends import add_tasks
from tests.canaries import CLAUDE_KEY, MEMBER_KEY, OPENAI_KEY, SHARED_KEY, canary
from tests.pipeline.bot.chatting import MAYA, NOOR, TOM, BotCase
from tests.pipeline.cases import until
from tests.servers import free_port

QUESTION = "CFO of a logistics firm, went silent after the price"
REVOKED_KEY = canary("sk-ant-api03-revoked-0123456789abcdefghijklmnop")


async def member(telegram_id: int) -> Member:
    return await Member.objects.aget(telegram_id=telegram_id)


def times(count: int, words: str) -> Callable[[list[str]], bool]:
    return lambda seen: sum(words in text for text in seen) == count


def as_many(count: int) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda calls: len(calls) == count


async def new_invite(**changes: object) -> str:
    made, secret = await sync_to_async(invite)("for Noor", "olga", now=timezone.now())
    if changes:
        await Invite.objects.filter(pk=made.pk).aupdate(**changes)
    return secret


class WayInTests(BotCase):
    async def test_an_approval_is_told_at_once_and_once(self):
        async with self.bot(ACCESS="closed") as chat:
            await chat.say(NOOR, QUESTION)
            await chat.sees_text(NOOR, "asked an admin")
            noor = await member(NOOR)

            assert await sync_to_async(approve)(noor, add_tasks)
            await chat.sees_text(NOOR, "You're in")

            assert not await sync_to_async(approve)(noor, add_tasks)
            await sync_to_async(greet)(noor, add_tasks)
            await chat.say(NOOR, QUESTION)
            seen = await chat.sees(NOOR, lambda replies: "Draft to send" in replies[-1])

        assert sum("You're in" in reply for reply in seen) == 1

    async def test_who_is_blocked_again_before_the_bot_got_round_to_it_hears_nothing(self):
        async with self.bot(ACCESS="closed") as chat:
            await chat.say(NOOR, QUESTION)
            await chat.sees_text(NOOR, "asked an admin")
            noor = await member(NOOR)
            noor.access = Access.BLOCKED
            await noor.asave()
            await sync_to_async(greet)(noor, add_tasks)
            await chat.say(NOOR, QUESTION)
            seen = await chat.sees(NOOR, lambda replies: "can't use" in replies[-1])
            greeting = Task.objects.filter(kind=TaskKind.GREETING, status=TaskStatus.IGNORED)
            await until(greeting.aexists)

        assert not any("You're in" in reply for reply in seen)

    async def test_an_invite_lets_one_person_in_and_no_other(self):
        secret = await new_invite()
        async with self.bot(ACCESS="invite") as chat:
            await chat.say(NOOR, QUESTION)
            await chat.sees_text(NOOR, "Ask an admin for an invite link")
            await chat.say(NOOR, f"/start {secret}")
            await chat.sees_text(NOOR, "I'm your sales co-pilot")
            await chat.say(TOM, f"/start {secret}")
            await chat.sees_text(TOM, "has been used or has expired")
            await chat.say(NOOR, f"/start {secret}")  # opened again: no harm
            await chat.sees(NOOR, times(2, "co-pilot"))

        assert (await member(TOM)).access == Access.WAITING
        used = await Invite.objects.select_related("used_by").aget()
        assert used.used_by is not None
        assert used.used_by.telegram_id == NOOR
        assert secret not in str(await Invite.objects.values().aget())

    async def test_an_old_invite_and_a_guessed_one_let_nobody_in(self):
        now = timezone.now()
        old = await new_invite(expires_at=now - timedelta(seconds=1))
        async with self.bot(ACCESS="invite") as chat:
            for number, secret in enumerate([old, "guessed", "x" * 2000], start=1):
                await chat.say(NOOR, f"/start {secret}")
                await chat.sees(NOOR, times(number, "has expired"))

        assert (await member(NOOR)).access == Access.WAITING

    async def test_an_invite_does_not_unblock(self):
        await Member.objects.acreate(telegram_id=NOOR, access=Access.BLOCKED)
        secret = await new_invite()
        async with self.bot(ACCESS="invite") as chat:
            await chat.say(NOOR, f"/start {secret}")
            await chat.sees_text(NOOR, "can't use this bot")

        assert (await Invite.objects.aget()).used_at is None


class WhoPaysTests(BotCase):
    async def test_the_start_offers_whose_key_pays_and_says_how_to_add_one(self):
        async with self.bot() as chat:
            await chat.say(TOM, "/start")
            await chat.sees_text(TOM, "The team's key pays")
            await chat.press(TOM, "My Claude key")
            await chat.sees_text(TOM, "Send me your Claude key")
            await chat.press(TOM, "The team's key")
            await chat.sees_text(TOM, "The team's key pays for your answers. Tell me")

    async def test_without_leave_for_the_teams_key_it_is_not_offered(self):
        async with self.bot(SHARED_KEY_FOR_MEMBERS=False) as chat:
            await chat.say(TOM, "/start")
            await chat.sees_text(TOM, "choose which API key")
            shown = json.dumps(await chat.messages_of_the_bot(TOM))
            await chat.press_unseen(TOM, 1, "payer:team")  # made up by a client
            await chat.sees_text(TOM, "can't use the team's key here")
            await chat.press_unseen(TOM, 1, "payer:nobody")
            await chat.sees(TOM, times(2, "can't use the team's key"))

        assert "My OpenAI key" in shown
        assert "payer:team" not in shown

    async def test_a_strangers_press_is_refused(self):
        async with self.bot(ACCESS="closed") as chat:
            await chat.say(NOOR, "/start")
            await chat.sees_text(NOOR, "asked an admin")
            await chat.press_unseen(NOOR, 1, "payer:claude")
            await chat.say(NOOR, "/start")
            seen = await chat.sees(NOOR, lambda replies: len(replies) == 2)

        assert not any("Send me your" in text for text in seen)

    async def test_a_pasted_key_is_kept_sealed_pays_from_now_on_and_is_seen_no_more(self):
        async with self.bot() as chat:
            for key, title, provider in [
                (MEMBER_KEY, "OpenRouter", "openrouter"),
                (CLAUDE_KEY, "Claude", "claude"),
                (OPENAI_KEY, "OpenAI", "openai"),
            ]:
                with self.subTest(provider=provider):
                    before = len(await chat.calls())
                    await chat.say(TOM, f" {key}\n")
                    line = await chat.sees_text(TOM, f"{title} accepted this key")
                    assert fingerprint(key) in line
                    assert "I've deleted your message" in line
                    await chat.say(TOM, f"{QUESTION} {title}")
                    await chat.sees_text(TOM, f"{QUESTION} {title}")
                    await chat.sees_calls(as_many(before + 3))
                    assert {call["key"] for call in (await chat.calls())[before:]} == {key}
                    assert key not in json.dumps(await chat.messages(TOM))

                    tom = await member(TOM)
                    assert tom.api_key is not None
                    assert (tom.provider, tom.api_key.reveal()) == (provider, key)
                    await self._assert_nothing_else_holds(key)

    async def test_a_key_that_the_vendor_refuses_is_not_kept(self):
        async with self.bot() as chat:
            await chat.say(TOM, REVOKED_KEY)
            line = await chat.sees_text(TOM, "didn't accept this key")

        assert fingerprint(REVOKED_KEY) in line
        assert (await member(TOM)).api_key is None
        await self._assert_nothing_else_holds(REVOKED_KEY)

    async def test_a_key_that_nobody_can_check_now_is_not_kept(self):
        nobody = f"http://127.0.0.1:{free_port()}"
        async with self.bot(ANTHROPIC_BASE_URL=nobody) as chat:
            await chat.say(TOM, CLAUDE_KEY)
            await chat.sees_text(TOM, "isn't responding")

        assert (await member(TOM)).api_key is None
        await self._assert_nothing_else_holds(CLAUDE_KEY)

    async def test_a_key_in_a_group_among_words_or_forwarded_is_read_by_nobody(self):
        forwarded = {"type": "hidden_user", "sender_user_name": "Eve", "date": 1_700_000_000}
        group = {"id": -100, "type": "supergroup", "title": "Sales"}
        async with self.bot() as chat:
            await chat.say(TOM, f"is {CLAUDE_KEY} still good?")
            await chat.sees_text(TOM, "looks like an API key")
            await chat.inject(TOM, text=CLAUDE_KEY, forward_origin=forwarded)
            await chat.inject(TOM, text=f"{CLAUDE_KEY} {OPENAI_KEY}")
            await chat.sees(TOM, times(3, "looks like"))
            await chat.inject(TOM, text=CLAUDE_KEY, chat=group)
            in_group = Task.objects.filter(update__chat_id=-100, ended_at__isnull=False)
            await until(in_group.aexists)

        assert (await member(TOM)).api_key is None
        await self._assert_nothing_else_holds(CLAUDE_KEY)

    async def test_who_is_not_let_in_leaves_no_key_behind(self):
        async with self.bot(ACCESS="closed") as chat:
            await chat.say(NOOR, CLAUDE_KEY)
            await chat.sees_text(NOOR, "asked an admin")

        await self._assert_nothing_else_holds(CLAUDE_KEY)

    async def test_a_message_that_cannot_be_deleted_is_said_to_be_there(self):
        async with self.bot() as chat:
            await chat.fault(
                method="deleteMessage",
                chat_id=TOM,
                error_code=400,
                description="Bad Request: message can't be deleted",
            )
            await chat.say(TOM, CLAUDE_KEY)
            await chat.sees_text(TOM, "couldn't delete your message")

    async def test_a_press_on_a_message_that_telegram_has_no_more_is_answered(self):
        async with self.bot() as chat:
            gone = {"message_id": 1, "date": 0, "chat": {"id": TOM, "type": "private"}}
            query = {
                "id": "1",
                "from": {"id": TOM, "is_bot": False, "first_name": "Tom"},
                "message": gone,
                "chat_instance": "1",
                "data": "payer:openai",
            }
            await chat.post("/telegram/updates", callback_query=query)
            await chat.sees_text(TOM, "Send me your OpenAI key")

    async def _assert_nothing_else_holds(self, key: str) -> None:
        assert not await PastedKey.objects.aexists()
        assert not await TelegramUpdate.objects.filter(raw__contains=key).aexists()
        assert not await LLMCall.objects.filter(user_message__text__contains=key).aexists()


class LimitTests(BotCase):
    async def test_after_so_many_runs_an_hour_the_member_is_told_when_to_come_again(self):
        async with self.bot(RUNS_PER_HOUR=2) as chat:
            for number in (1, 2):
                await chat.say(TOM, f"{QUESTION} {number}")
                await chat.sees_text(TOM, f"{QUESTION} {number}")
            await chat.say(TOM, QUESTION)
            await chat.sees_text(TOM, "limit of 2 messages an hour")
            await chat.say(MAYA, QUESTION)  # others are free to
            await chat.sees_text(MAYA, "Draft to send")
            assert await PipelineRun.objects.acount() == 3

            old = timezone.now() - timedelta(hours=1)
            first = await PipelineRun.objects.order_by("started_at").afirst()
            assert first is not None
            await PipelineRun.objects.filter(pk=first.pk).aupdate(started_at=old)
            await chat.say(TOM, f"{QUESTION} 3")
            await chat.sees_text(TOM, f"{QUESTION} 3")

    async def test_a_day_of_the_teams_key_has_its_price_and_an_own_key_has_none(self):
        # Enough at UNKNOWN_PRICE, too: the catalog may still be on its way.
        budget = await Budget.objects.acreate(scope=Scope.EACH_MEMBER, cap_usd=10)
        async with self.bot() as chat:
            await chat.say(TOM, QUESTION)
            await chat.sees_text(TOM, "Draft to send")
            await chat.sees_calls(lambda calls: len(calls) == 3)
            period = await BudgetPeriod.objects.aget(budget=budget)
            await BudgetPeriod.objects.aupdate(
                cap_picousd=F("spent_picousd"), over_picousd=F("reserved_picousd")
            )
            await chat.say(TOM, QUESTION)
            await chat.sees_text(TOM, "that the team's key may spend for you")
            assert period.key == str((await Member.objects.aget(telegram_id=TOM)).pk)

            await chat.say(TOM, MEMBER_KEY)
            await chat.sees_text(TOM, "accepted this key")
            await chat.say(TOM, f"{QUESTION} again")
            await chat.sees_text(TOM, f"{QUESTION} again")
            paid_by = [call["key"] for call in await chat.calls()]

        assert paid_by[:3] == [SHARED_KEY] * 3
        assert set(paid_by[3:]) == {MEMBER_KEY}
