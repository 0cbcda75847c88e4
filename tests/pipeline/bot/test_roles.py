"""Which process does what, by the settings; and who is told that there is nothing for it to do."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import ExitStack
from io import StringIO
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.core.management import CommandError, call_command
from django.test import SimpleTestCase, TransactionTestCase, override_settings

from pipeline import worker
from pipeline.bot.application import BotRefused
from pipeline.models import Poller
from pipeline.worker import serve, work
from tests.canaries import BOT_TOKEN
from tests.pipeline.bot.chatting import MAYA, BotCase, environment
from tests.sandbox.serving import running_sandbox

WEBHOOK = {
    "TELEGRAM_WEBHOOK_URL": "https://bot.example.com/telegram/webhook",
    "TELEGRAM_WEBHOOK_SECRET": "the-secret-of-this-webhook",
}


class RefusalTests(SimpleTestCase):
    async def refused(self, process: object) -> str:
        with pytest.raises(BotRefused) as caught:
            await process(asyncio.Event())  # type: ignore[operator]
        return str(caught.value)

    async def test_a_worker_beside_a_bot_that_works_itself_is_refused(self):
        with override_settings(TELEGRAM_BOT_TOKEN=BOT_TOKEN, QUEUE="inprocess"):
            assert "set QUEUE=procrastinate" in await self.refused(work)

    async def test_a_bot_with_nothing_to_do_is_refused(self):
        with override_settings(TELEGRAM_BOT_TOKEN=BOT_TOKEN, QUEUE="procrastinate", **WEBHOOK):
            assert "Nothing to do for runbot" in await self.refused(serve)

    async def test_a_worker_without_a_token_is_refused(self):
        with override_settings(TELEGRAM_BOT_TOKEN="", QUEUE="procrastinate"):
            assert "TELEGRAM_BOT_TOKEN is not set" in await self.refused(work)


class PlaceTests(SimpleTestCase):
    def test_each_worker_of_a_machine_has_a_place_which_its_successor_takes(self):
        with (
            tempfile.TemporaryDirectory() as folder,
            override_settings(DATA_DIR=Path(folder)),
            ExitStack() as one,
            ExitStack() as two,
        ):
            names = [worker._own_lock_path(one).name, worker._own_lock_path(two).name]
            one.close()
            successor = worker._own_lock_path(two).name

        assert names == ["worker-1.lock", "worker-2.lock"]
        assert successor == "worker-1.lock"

    def test_the_same_folder_is_the_same_installation_and_another_one_is_not(self):
        names = []
        for _ in range(2):
            with tempfile.TemporaryDirectory() as folder, override_settings(DATA_DIR=Path(folder)):
                names.append([worker._installation(), worker._installation()])

        assert [len(set(of_one)) for of_one in names] == [1, 1]
        assert names[0] != names[1]


class SetWebhookTests(TransactionTestCase):
    async def call(self, *arguments: str) -> str:
        said = StringIO()
        await asyncio.to_thread(call_command, "setwebhook", *arguments, stdout=said)
        return said.getvalue()

    async def test_it_is_set_with_what_the_bot_asks_for_and_deleted_again(self):
        with running_sandbox() as base_url, override_settings(**environment(base_url) | WEBHOOK):
            assert f"delivers to {WEBHOOK['TELEGRAM_WEBHOOK_URL']}; 0 wait" in await self.call()
            assert "runbot can poll" in await self.call("--delete")

        # Invite links need the bot's name, and no poller is there to learn it.
        assert (await Poller.objects.aget()).username == "observatory_sandbox_bot"

    async def test_without_an_address_it_says_what_to_set(self):
        with (
            override_settings(TELEGRAM_BOT_TOKEN=BOT_TOKEN, TELEGRAM_WEBHOOK_URL=""),
            pytest.raises(CommandError, match="Set TELEGRAM_WEBHOOK_URL"),
        ):
            await self.call()

    async def test_what_telegram_refuses_is_told_without_the_token(self):
        http = {**WEBHOOK, "TELEGRAM_WEBHOOK_URL": "http://bot.example.com/telegram/webhook"}
        with (
            running_sandbox() as base_url,
            override_settings(**environment(base_url) | http),
            pytest.raises(CommandError) as caught,
        ):
            await self.call()

        assert "an https url must be provided" in str(caught.value)
        assert BOT_TOKEN not in str(caught.value)


class WithoutPollingTests(BotCase):
    async def test_with_a_webhook_on_one_machine_the_bot_works_on_what_the_web_process_stored(self):
        async with self.bot(**WEBHOOK) as chat:
            await chat.say(MAYA, "/help")
            update = await self.carried(chat)
            answer = await sync_to_async(self.client.post)(
                "/telegram/webhook",
                update,
                content_type="application/json",
                headers={"X-Telegram-Bot-Api-Secret-Token": WEBHOOK["TELEGRAM_WEBHOOK_SECRET"]},
            )
            assert answer.status_code == 200

            await chat.sees_text(MAYA, "/support")

    async def carried(self, chat: object) -> dict[str, object]:
        """Return what Telegram would carry to the webhook."""
        answer = await chat.post(f"/telegram/bot{BOT_TOKEN}/getUpdates", timeout=1)  # type: ignore[attr-defined]
        (update,) = answer.json()["result"]
        return dict(update)
