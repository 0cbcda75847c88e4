"""Operators link their admin account in Telegram, and undo changes with the button of an alert."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from asgiref.sync import sync_to_async
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client, TestCase, override_settings
from django.urls import reverse
from django.utils import timezone

from agents.models import AgentModelConfig
from pipeline.bot import texts
from pipeline.models import Member, OperatorLink, PeriodicJob
from pipeline.people import operator_links
from tests.pipeline.bot.chatting import (
    MAYA,
    OPERATOR,
    PATIENCE_S,
    BotCase,
    Chat,
    change_in_effect,
    choose,
)
from tests.pipeline.bot.test_groups import add_group

GLM, MINI = "z-ai/glm-4.6", "openai/gpt-5-mini"


def an_account(name: str = "olga", *permissions: str, **fields: Any) -> User:
    user = User.objects.create_user(name, password="x", **{"is_staff": True} | fields)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label=app, codename=codename)
        )
    return user


def a_code(user: User) -> str:
    return operator_links.make_code(user.pk, now=timezone.now())


def linked_to(telegram_id: int) -> str:
    operator = operator_links.operator_of(telegram_id)
    return operator.get_username() if operator else ""


class CodeTests(TestCase):
    """A code links one account, once, within ten minutes."""

    def setUp(self) -> None:
        self.olga = an_account()
        self.now = timezone.now()
        self.code = operator_links.make_code(self.olga.pk, now=self.now)

    def redeem(self, code: str, telegram_id: int = OPERATOR, after: timedelta = timedelta()) -> str:
        now = self.now + after
        account = operator_links.account_of(code, now=now)
        if account:
            operator_links.redeem(code, telegram_id, now=now)
        return account

    def test_it_links_the_account_however_it_is_typed(self):
        assert self.redeem(self.code.lower().replace("-", " ")) == "olga"
        assert linked_to(OPERATOR) == "olga"

    def test_it_works_once(self):
        self.redeem(self.code)

        assert self.redeem(self.code, MAYA) == ""
        assert (linked_to(OPERATOR), linked_to(MAYA)) == ("olga", "")

    def test_two_people_at_once_cannot_both_use_it(self):
        operator_links.redeem(self.code, OPERATOR, now=self.now)

        with pytest.raises(operator_links.CodeNotValid):
            operator_links.redeem(self.code, MAYA, now=self.now)

    def test_after_ten_minutes_it_is_not_valid(self):
        assert self.redeem(self.code, after=timedelta(minutes=10)) == ""

    def test_a_new_code_replaces_it(self):
        operator_links.make_code(self.olga.pk, now=self.now)

        assert self.redeem(self.code) == ""

    def test_the_database_does_not_hold_it(self):
        letters = self.code.replace("-", "")
        assert all(
            part not in str(value)
            for row in OperatorLink.objects.values()
            for value in row.values()
            for part in (self.code, letters, letters[:4])
        )

    def test_a_telegram_account_is_linked_to_one_admin_account_only(self):
        self.redeem(self.code)
        pete = an_account("pete")

        self.redeem(a_code(pete))

        assert linked_to(OPERATOR) == "pete"
        assert OperatorLink.objects.filter(telegram_id=OPERATOR).count() == 1

    def test_an_account_that_is_no_longer_staff_or_active_is_no_operator(self):
        self.redeem(self.code)
        for change in ({"is_staff": False}, {"is_staff": True, "is_active": False}):
            User.objects.filter(pk=self.olga.pk).update(**change)
            assert linked_to(OPERATOR) == ""

    def test_link_and_unlink_are_in_the_log_of_the_admin(self):
        self.redeem(self.code)
        operator_links.unlink(self.olga.pk)

        assert [entry.change_message for entry in LogEntry.objects.order_by("pk")] == [
            "Linked to Telegram.",
            "Unlinked from Telegram.",
        ]
        assert linked_to(OPERATOR) == ""


@override_settings(SECURE_SSL_REDIRECT=False)
class PageTests(TestCase):
    """The page beneath the operator's name makes codes for their own account only."""

    url = reverse("admin:pipeline_operatorlink_mine")

    def setUp(self) -> None:
        self.olga = an_account()
        self.client = Client()
        self.client.force_login(self.olga)

    def test_it_shows_a_code_once_and_the_code_links_the_account_that_made_it(self):
        shown = self.client.post(self.url).content.decode()

        code = shown.split("/link ")[1].split("<")[0]
        assert operator_links.account_of(code, now=timezone.now()) == "olga"
        assert code not in self.client.get(self.url).content.decode()

    def test_a_linked_account_can_be_unlinked(self):
        operator_links.redeem(a_code(self.olga), OPERATOR, now=timezone.now())
        assert str(OPERATOR) in self.client.get(self.url).content.decode()

        self.client.post(self.url, {"unlink": "1"})

        assert "Not linked yet" in self.client.get(self.url).content.decode()
        assert linked_to(OPERATOR) == ""

    def test_the_account_menu_links_to_it_for_every_operator(self):
        page = self.client.get(reverse("admin:index")).content.decode()
        assert self.url in page
        assert reverse("admin:password_change") in page

    def test_it_requires_a_signed_in_operator(self):
        assert Client().get(self.url).status_code == 302


class LinkTests(BotCase):
    """What /link answers in the chat."""

    async def test_a_code_links_an_operator_who_is_no_member(self):
        olga = await sync_to_async(an_account)()
        code = await sync_to_async(a_code)(olga)
        async with self.bot(ACCESS="closed") as chat:
            await chat.say(MAYA, f"/link {code}")
            await chat.sees_text(MAYA, "Linked to the admin account olga")

        assert await sync_to_async(linked_to)(MAYA) == "olga"
        assert not await Member.objects.aexists()

    async def test_a_stranger_with_a_wrong_code_is_answered_as_a_stranger(self):
        async with self.bot(ACCESS="closed") as chat:
            await chat.say(MAYA, "/link ABCD-EFGH-JKLM")
            await chat.sees_text(MAYA, texts.WAITING)

    async def test_a_member_with_a_wrong_code_reads_where_to_make_one(self):
        async with self.bot() as chat:
            await chat.say(MAYA, "/link")
            await chat.sees_text(MAYA, texts.CODE_NOT_VALID)

    async def test_a_code_that_a_group_can_read_no_longer_works(self):
        olga = await sync_to_async(an_account)()
        code = await sync_to_async(a_code)(olga)
        async with self.bot() as chat:
            group = await add_group(chat)
            entities = [{"type": "bot_command", "offset": 0, "length": 5}]
            await chat.inject(MAYA, chat=group, text=f"/link {code}", entities=entities)
            await chat.sees_text(group["id"], texts.CODE_SHOWN)

        assert await sync_to_async(linked_to)(MAYA) == ""
        assert await sync_to_async(operator_links.account_of)(code, now=timezone.now()) == ""

    async def test_so_does_one_that_an_anonymous_admin_or_a_channel_has_written(self):
        olga = await sync_to_async(an_account)()
        async with self.bot() as chat:
            group = await add_group(chat)
            entities = [{"type": "bot_command", "offset": 0, "length": 5}]
            code = await sync_to_async(a_code)(olga)
            await chat.inject(
                MAYA, chat=group, sender_chat=group, text=f"/link\n{code}", entities=entities
            )
            await chat.sees_text(group["id"], texts.CODE_SHOWN)

        assert await sync_to_async(operator_links.account_of)(code, now=timezone.now()) == ""

    async def test_the_operators_chat_is_told_who_was_linked(self):
        olga = await sync_to_async(an_account)()
        async with self.bot() as chat:
            await chat.add_operator()
            await chat.say(MAYA, f"/link {await sync_to_async(a_code)(olga)}")
            await chat.sees_text(
                OPERATOR, f"The admin account olga is now linked to the Telegram account {MAYA}"
            )

    async def test_who_erases_their_data_is_no_longer_linked(self):
        olga = await sync_to_async(an_account)()
        async with self.bot() as chat:
            await chat.say(MAYA, f"/link {await sync_to_async(a_code)(olga)}")
            await chat.sees_text(MAYA, "Linked to")
            await chat.say(MAYA, "/forget")
            await chat.sees_text(MAYA, "You can't undo it")
            await chat.press(MAYA, texts.FORGET_ALL)
            await chat.sees_text(MAYA, texts.ALL_FORGOTTEN)

        assert await sync_to_async(linked_to)(MAYA) == ""


class UndoTests(BotCase):
    """The button beneath the message about a change takes that change back, or none."""

    may_change = ("agents.change_agentmodelconfig",)

    async def message_of(self, chat: Chat, version: int) -> dict[str, Any]:
        """Return the message about a change, as soon as the operators' chat has it."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for message in await chat.messages_of_the_bot(OPERATOR):
                if f"(v{version} by" in message.get("text", ""):
                    return message
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    async def link(self, chat: Chat, *permissions: str) -> User:
        olga = await sync_to_async(an_account)("olga", *permissions)
        await chat.add_operator()
        code = await sync_to_async(a_code)(olga)
        await chat.say(OPERATOR, f"/link {code}")
        await chat.sees_text(OPERATOR, "Linked to")
        # What was changed before the job's first run is no news.
        told = PeriodicJob.objects.filter(name=PeriodicJob.CHANGES).exclude(last_result={})
        deadline = time.monotonic() + PATIENCE_S
        while not await told.aexists():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        return olga

    async def test_a_press_takes_the_change_back_in_the_operator_s_name(self):
        await choose("strategist", MINI)
        async with self.bot() as chat:
            await self.link(chat, *self.may_change)
            await choose("strategist", GLM)
            await self.message_of(chat, 2)

            await chat.press(OPERATOR, "Undo strategist v2")
            await chat.sees_toast("Undone: strategist is as it was before v2")
            await change_in_effect()

            row = await AgentModelConfig.objects.aget(agent_name="strategist")
            assert (row.model_id, row.set_by, row.reason) == (MINI, "olga", "Undo of v2")
            entry = await LogEntry.objects.order_by("-pk").afirst()
            assert entry is not None
            assert entry.change_message == "Undone: v2 in Telegram."
            told = await self.message_of(chat, 3)
            assert f"{GLM} → {MINI}" in told["text"]
            deadline = time.monotonic() + PATIENCE_S
            while "reply_markup" in await self.message_of(chat, 2):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)

    async def test_a_second_press_changes_nothing_and_says_who_undid_it(self):
        async with self.bot() as chat:
            await self.link(chat, *self.may_change)
            await choose("strategist", GLM)
            message = await self.message_of(chat, 1)
            for _ in range(2):
                await chat.press_unseen(OPERATOR, message["message_id"], "undo:1:strategist")
            await chat.sees_toast("v1 was already undone by olga (v2)")

        assert (await AgentModelConfig.objects.aget()).version == 2

    async def test_a_press_after_another_change_does_nothing(self):
        async with self.bot() as chat:
            await self.link(chat, *self.may_change)
            await choose("strategist", GLM)
            message = await self.message_of(chat, 1)
            await choose("strategist", MINI)
            await chat.press_unseen(OPERATOR, message["message_id"], "undo:1:strategist")
            await chat.sees_toast("strategist has changed since v1 (v2 by ana)")

        assert (await AgentModelConfig.objects.aget()).model_id == MINI

    async def test_the_right_is_that_of_the_account_at_the_press(self):
        async with self.bot() as chat:
            olga = await self.link(chat, *self.may_change)
            await choose("strategist", GLM)
            message = await self.message_of(chat, 1)
            await olga.user_permissions.aclear()
            await chat.press_unseen(OPERATOR, message["message_id"], "undo:1:strategist")
            await chat.sees_toast("The admin account olga may not change overrides.")
            await chat.press_unseen(MAYA, message["message_id"], "undo:1:strategist")
            await chat.sees_toast(texts.UNDO_NOT_LINKED)

        assert (await AgentModelConfig.objects.aget()).version == 1

    async def test_a_garbled_press_is_answered(self):
        async with self.bot() as chat:
            await self.link(chat, *self.may_change)
            await choose("strategist", GLM)
            message = await self.message_of(chat, 1)
            number = message["message_id"]
            for press in ("", "x:strategist", "1:nobody", "1", f"{9**40}:strategist"):
                before = await chat.toasts()
                await chat.press_unseen(OPERATOR, number, f"undo:{press}")
                await chat.sees_toast(texts.OLD_BUTTON, after=len(before))

        assert (await AgentModelConfig.objects.aget()).version == 1

    async def test_after_a_day_it_refers_to_the_history(self):
        async with self.bot() as chat:
            await self.link(chat, *self.may_change)
            with time_machine.travel(timezone.now() - timedelta(hours=25), tick=True):
                await choose("strategist", GLM)
            await chat.press_unseen(OPERATOR, 1, "undo:1:strategist")
            await chat.sees_toast(texts.UNDO_TOO_OLD)

        assert (await AgentModelConfig.objects.aget()).version == 1

    async def test_the_first_failure_after_a_change_comes_with_the_button(self):
        async with self.bot() as chat:
            await self.link(chat, *self.may_change)
            await choose("strategist", "sandbox/no-credit")
            await change_in_effect()
            await chat.say(MAYA, "/support CFO, went quiet")
            await chat.sees_text(OPERATOR, "strategist fails since v1")

            await chat.press(OPERATOR, "Undo strategist v1")
            await chat.sees_toast("Undone: strategist")

        assert not (await AgentModelConfig.objects.aget()).is_active
