"""A group that became a supergroup loses nothing: answers and alerts follow it to its new id."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.test import TransactionTestCase, override_settings
from django.utils import timezone
from telegram.ext import BaseRateLimiter, ExtBot

from pipeline.bot.alerts import Alerts
from pipeline.bot.limiter import Ticket
from pipeline.bot.moved_chats import FollowsMovedChats
from pipeline.models import MovedChat
from pipeline.operations import attention, periodic_jobs
from tests.canaries import BOT_TOKEN
from tests.pipeline.bot.chatting import MAYA, BotCase, Chat
from tests.pipeline.bot.test_groups import NAME, QUESTION, add_group, mention
from tests.sandbox.serving import running_sandbox

ALERTS = 50


class Unlimited(BaseRateLimiter[Ticket]):
    """Makes every call at once."""

    async def initialize(self) -> None: ...

    async def shutdown(self) -> None: ...

    async def process_request(
        self, callback: Any, args: Any, kwargs: Any, endpoint: str, data: Any, rate_limit_args: Any
    ) -> Any:
        return await callback(*args, **kwargs)


async def upgraded(chat: Chat, group: dict[str, Any]) -> int:
    answer = await chat.post(f"/chat/{group['id']}/upgrade")
    return int(answer.json()["id"])


class AnswerTests(BotCase):
    async def test_the_answer_to_a_question_from_before_goes_to_the_supergroup(self):
        async with self.bot() as chat:
            group = await add_group(chat)
            new_id = await upgraded(chat, group)
            await chat.inject(MAYA, chat=group, **mention(f"{NAME} {QUESTION}"))
            await chat.sees(new_id, lambda seen: any("Draft to send" in one for one in seen))

            assert await chat.replies(group["id"]) == []


class AlertTests(TransactionTestCase):
    @asynccontextmanager
    async def alerts(self) -> AsyncIterator[tuple[Alerts, Chat, int, int]]:
        """Yield alerts to a group that has moved, and its old and new id."""
        with running_sandbox() as base_url:
            chat = Chat(base_url)
            group = await add_group(chat)
            new_id = await upgraded(chat, group)
            await chat.post("/telegram/limits", on=False)
            limiter = FollowsMovedChats(Unlimited())
            url = f"{base_url}/telegram/bot"
            with override_settings(OPERATOR_CHAT_ID=group["id"]):
                async with ExtBot(BOT_TOKEN, base_url=url, rate_limiter=limiter) as bot:
                    alerts = Alerts()
                    alerts.use(bot)
                    yield alerts, chat, group["id"], new_id
            await chat.aclose()

    async def test_no_alert_is_lost(self):
        async with self.alerts() as (alerts, chat, _, new_id):
            for number in range(ALERTS):
                if number % 2:
                    alerts.send_soon(f"alert {number}")
                else:
                    assert await alerts.send(f"alert {number}")
            await alerts.drain()

            arrived = sorted(await chat.replies(new_id))
        assert arrived == sorted(f"🔔 alert {number}" for number in range(ALERTS))

    async def test_the_old_id_is_tried_once_a_process(self):
        async with self.alerts() as (alerts, _chat, old_id, _):
            await alerts.send("one")
            with self.assertNoLogs("pipeline.bot.moved_chats"):
                await alerts.send("two")

            moved = await MovedChat.objects.aget()
        assert moved.old_id == old_id

    async def test_the_page_and_the_group_hear_that_the_setting_is_old(self):
        async with self.alerts() as (alerts, chat, old_id, new_id):
            await alerts.send("one")
            found = await sync_to_async(attention.alerts)(timezone.now())
            (alert,) = [one for one in found if one.key == "operators-chat-moved"]
            for minute in range(2):
                now = timezone.now() + timedelta(minutes=minute)
                (spec,) = [spec for spec in periodic_jobs.JOBS if spec.name == "concerns"]
                await periodic_jobs.run_if_due(spec, now, alerts.send)
            seen = await chat.replies(new_id)

        assert f"OPERATOR_CHAT_ID from {old_id} to {new_id}" in alert.text
        assert sum(alert.text in line for line in seen) == 1
