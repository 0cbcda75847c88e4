"""What the operators have to hear arrives, or whoever tells it knows that it did not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from django.db import OperationalError, connection
from django.test import TestCase, override_settings
from django.utils import timezone
from telegram import Bot

from pipeline.bot.alerts import Alerts
from pipeline.models import SentAlert
from pipeline.operations.periodic_jobs import JOBS
from tests.canaries import BOT_TOKEN
from tests.pipeline.bot.chatting import MAYA, Chat
from tests.sandbox.serving import running_sandbox

NOBODY = "http://127.0.0.1:9"
TEXT = "The shared key has $0.10 left."


class TellTests(TestCase):
    lost_alerts = next(spec for spec in JOBS if spec.name == "lost alerts")

    @asynccontextmanager
    async def alerts(self) -> AsyncIterator[tuple[Alerts, Chat]]:
        """Yield alerts that go to a sandbox, in which Maya has written to the bot."""
        with running_sandbox() as base_url:
            chat = Chat(base_url)
            await chat.say(MAYA, "hello")
            async with Bot(BOT_TOKEN, base_url=f"{base_url}/telegram/bot") as bot:
                alerts = Alerts()
                alerts.use(bot)
                yield alerts, chat
            await chat.aclose()

    async def test_what_the_chat_has_is_told(self):
        async with self.alerts() as (alerts, chat):
            with override_settings(OPERATOR_CHAT_ID=MAYA):
                assert await alerts.send(TEXT)

            assert await chat.replies(MAYA) == [f"🔔 {TEXT}"]
            (message,) = await chat.messages_of_the_bot(MAYA)
            sent = await SentAlert.objects.aget()
            assert (sent.chat_id, sent.message_id) == (str(MAYA), message["message_id"])

    async def test_news_are_no_error_in_the_log(self):
        with override_settings(OPERATOR_CHAT_ID=None), self.assertLogs("pipeline.bot") as logs:
            await Alerts().send(TEXT)
            await Alerts().send("Model changed.", is_news=True)

        assert [(one.levelname, one.getMessage()) for one in logs.records] == [
            ("ERROR", f"alert: {TEXT}"),
            ("INFO", "news: Model changed."),
        ]

    async def test_an_alert_goes_out_even_if_the_database_takes_no_note_of_it(self):
        def refuse(execute: Any, sql: str, *rest: Any) -> Any:
            if "sentalert" in sql:
                raise OperationalError("the database is away")
            return execute(sql, *rest)

        async with self.alerts() as (alerts, chat):
            with override_settings(OPERATOR_CHAT_ID=MAYA), connection.execute_wrapper(refuse):
                assert await alerts.send(TEXT)

            assert await chat.replies(MAYA) == [f"🔔 {TEXT}"]

    async def test_an_alert_that_was_lost_at_a_kill_is_told_again_once(self):
        now = timezone.now()
        for age, text in ((10, "is being told"), (90, TEXT), (90_000, "old news")):
            left_at = now - timedelta(seconds=age)
            await SentAlert.objects.acreate(chat_id=MAYA, text=text, left_at=left_at)
        async with self.alerts() as (alerts, chat):
            with override_settings(OPERATOR_CHAT_ID=MAYA):
                for _ in range(2):
                    await self.lost_alerts.perform(now, alerts.send)

            assert await chat.replies(MAYA) == [f"🔔 {TEXT}"]

    async def test_an_alert_that_nobody_sees_arrive_is_told_again_once(self):
        now = timezone.now()
        lost = await SentAlert.objects.acreate(
            chat_id=MAYA, text=TEXT, left_at=now - timedelta(seconds=90)
        )
        async with self.alerts() as (alerts, chat):
            with override_settings(OPERATOR_CHAT_ID=MAYA):
                for minute in range(3):
                    await self.lost_alerts.perform(now + timedelta(minutes=minute), alerts.send)
                    await SentAlert.objects.aupdate(message_id=None)  # the answer gets lost

            assert await chat.replies(MAYA) == [f"🔔 {TEXT}"]
        assert (await SentAlert.objects.aget()).pk == lost.pk

    async def test_what_does_not_reach_telegram_is_not(self):
        alerts = Alerts()
        alerts.use(Bot(BOT_TOKEN, base_url=f"{NOBODY}/bot"))

        with override_settings(OPERATOR_CHAT_ID=MAYA), self.assertLogs("pipeline.bot") as said:
            assert not await alerts.send(TEXT)

        assert TEXT in said.output[0]

    async def test_a_chat_that_is_not_there_is_not_tried_again(self):
        async with self.alerts() as (alerts, _):
            with override_settings(OPERATOR_CHAT_ID=404):
                assert await alerts.send(TEXT)

    async def test_without_a_chat_the_log_is_told(self):
        with self.assertLogs("pipeline.bot") as said:
            assert await Alerts().send(TEXT)

        assert TEXT in said.output[0]
