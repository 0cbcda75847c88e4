"""What a restart finds is gone on with, once; what cannot be done is given up and told."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import override_settings
from telegram import Bot

from pipeline import worker
from pipeline.bot.application import BotRefused
from pipeline.bot.outbox import Outbox
from pipeline.bot.polling import Poller
from pipeline.bot.webhook import WebhookRefused, set_webhook
from pipeline.locks import locked, locked_name
from pipeline.models import LLMCall, OutgoingMessage, PipelineRun, StepRun, Task, TelegramUpdate
from pipeline.models.inbox import TaskKind, TaskStatus
from pipeline.models.runs import CallStatus, RunStatus, StepStatus
from pipeline.queue.base import Timings
from pipeline.queue.task_store import try_again
from pipeline.worker import serve
from tests.canaries import BOT_TOKEN
from tests.llm.loopback import Canned, loopback
from tests.pipeline.bot.chatting import (
    MAYA,
    OPERATOR,
    PATIENCE_S,
    TOM,
    BotCase,
    Chat,
    change_in_effect,
    choose,
    environment,
)
from tests.pipeline.bot.relay import Relay
from tests.pipeline.bot.test_conversation import QUESTION
from tests.pipeline.bot.test_outages import until
from tests.sandbox.serving import running_sandbox

FOR_EVER = 1_000_000
CLOSED_CHATS = yaml.safe_load((Path(__file__).parent / "closed_chats.yaml").read_text())
OPEN_STATUSES = (TaskStatus.READY, TaskStatus.RUNNING)


async def until_none_is_open() -> None:
    deadline = time.monotonic() + PATIENCE_S
    while await Task.objects.filter(status__in=OPEN_STATUSES).aexists():
        assert time.monotonic() < deadline, [task async for task in Task.objects.values()]
        await asyncio.sleep(0.02)


class ResumingTests(BotCase):
    async def test_a_run_goes_on_from_the_first_step_that_had_not_ended(self):
        await choose("strategist", "sandbox/hang")
        with running_sandbox() as base_url:
            async with self.bot_at(base_url, DRAIN_SECONDS=1) as chat:
                await chat.say(MAYA, QUESTION)
                await chat.sees_calls(lambda calls: len(calls) == 2)
            await choose("strategist", "google/gemini-2.5-flash")
            async with self.bot_at(base_url) as chat:
                await chat.sees_text(MAYA, "answered by google/gemini-2.5-flash")
                await until_none_is_open()
                calls = await chat.calls()
                assert len(await chat.replies(MAYA)) == 1

        assert [call["agent"] for call in calls] == [
            "extraction",
            "strategist",
            "strategist",
            "memory",
        ]
        attempts = StepRun.objects.filter(agent="strategist").order_by("attempt")
        assert [(s.attempt, s.status, s.requested_model) async for s in attempts] == [
            (1, StepStatus.CANCELLED, "sandbox/hang"),
            (2, StepStatus.OK, "google/gemini-2.5-flash"),
        ]
        assert (await PipelineRun.objects.aget()).status == RunStatus.OK

    async def test_a_background_step_goes_on_after_a_restart_and_delays_nobody(self):
        await choose("memory", "sandbox/hang")
        with running_sandbox() as base_url:
            async with self.bot_at(base_url, DRAIN_SECONDS=1) as chat:
                await chat.say(MAYA, QUESTION)
                await chat.sees_text(MAYA, "Draft to send")
                await chat.sees_calls(lambda calls: len(calls) == 3)
                await chat.say(MAYA, QUESTION)
                await chat.sees(MAYA, lambda s: len(s) == 2 and "Draft to send" in s[1])
            await choose("memory", "openai/gpt-4.1")
            async with self.bot_at(base_url):
                await until_none_is_open()

        ended = StepRun.objects.filter(agent="memory", status=StepStatus.OK)
        assert [s.requested_model async for s in ended] == ["openai/gpt-4.1"] * 2
        assert await ended.values("run").distinct().acount() == 2

    async def test_a_message_from_before_the_start_is_answered(self):
        with running_sandbox() as base_url:
            early = Chat(base_url)
            await early.say(MAYA, QUESTION)
            await early.aclose()
            async with self.bot_at(base_url) as chat:
                await chat.sees_text(MAYA, "Draft to send")

    async def test_a_run_that_ended_is_only_told(self):
        with running_sandbox() as base_url:
            async with self.bot_at(base_url) as chat:
                await chat.say(MAYA, QUESTION)
                await chat.sees_text(MAYA, "Draft to send")
                await until_none_is_open()
            await OutgoingMessage.objects.all().aupdate(text="", status="shown")
            tasks = Task.objects.filter(kind=TaskKind.MESSAGE)
            await tasks.aupdate(status=TaskStatus.READY, ended_at=None)
            async with self.bot_at(base_url) as chat:
                await until_none_is_open()
                assert len(await chat.calls()) == 3
                (answer,) = await chat.replies(MAYA)

        assert "Draft to send" in answer
        assert await PipelineRun.objects.acount() == 1


class CancelTests(BotCase):
    async def test_cancel_ends_a_running_pipeline_and_its_open_call(self):
        async with self.bot(DEFAULT_MODEL="sandbox/hang", DRAIN_SECONDS=1) as chat:
            await chat.say(MAYA, QUESTION)
            await chat.sees_calls(lambda calls: len(calls) == 1)
            await chat.say(MAYA, "/cancel")
            await chat.sees_calls(lambda calls: calls[0]["status"] == 499)
            await chat.sees_text(MAYA, "Stopped. There's no answer")
            await until_none_is_open()

        assert (await PipelineRun.objects.aget()).status == RunStatus.CANCELLED
        assert (await StepRun.objects.aget()).status == StepStatus.CANCELLED
        assert (await LLMCall.objects.aget()).status == CallStatus.UNKNOWN

    async def test_the_next_message_in_line_is_answered_after_a_cancel(self):
        await choose("extraction", "sandbox/hang")
        async with self.bot() as chat:
            await chat.say(MAYA, "the first")
            await chat.sees_calls(lambda calls: len(calls) == 1)
            await chat.say(MAYA, "the second")
            await chat.sees_text(MAYA, "Queued")
            await choose("extraction", "openai/gpt-4.1")
            await change_in_effect()
            await chat.say(MAYA, "/cancel")
            answer = await chat.sees_text(MAYA, "Draft to send")

        assert "the second" in answer

    async def test_cancel_with_nothing_under_way_says_so_and_stops_nobody_elses(self):
        async with self.bot(DEFAULT_MODEL="sandbox/hang", DRAIN_SECONDS=1) as chat:
            await chat.say(MAYA, QUESTION)
            await chat.sees_calls(lambda calls: len(calls) == 1)
            await chat.say(TOM, "/cancel")
            await chat.sees_text(TOM, "Nothing to stop")

            assert not await Task.objects.filter(stop_requested=True).aexists()


class GivingUpTests(BotCase):
    async def test_five_attempts_then_a_line_an_alert_and_a_dead_letter_to_try_again(self):
        attempts = 0
        keep = Outbox.keep

        async def failing(outbox: Outbox, chunks: Any, *more: Any, **options: Any) -> None:
            nonlocal attempts
            if "Draft to send" in chunks[0][0]:
                attempts += 1
                raise RuntimeError("it never works")
            await keep(outbox, chunks, *more, **options)

        self.timings = Timings(first_pause_s=0.01)
        async with self.bot() as chat:
            assert await chat.add_operator() == OPERATOR
            with patch.object(Outbox, "keep", failing):
                await chat.say(MAYA, QUESTION)
                await chat.sees_text(MAYA, "I tried 5 times")
                await chat.sees_text(OPERATOR, "it never works")
                await until_none_is_open()
            dead = await Task.objects.aget(status=TaskStatus.DEAD_LETTER)
            run = await PipelineRun.objects.aget()
            paid = len(await chat.calls())

            assert await sync_to_async(try_again)(dead)
            await chat.sees_text(MAYA, "Draft to send")
            await until_none_is_open()

            assert len(await chat.calls()) == paid
        assert attempts == 5
        assert "it never works" in dead.error
        assert run.status == RunStatus.OK
        await dead.arefresh_from_db()
        assert dead.status == TaskStatus.SUCCESSFUL

    async def test_what_cannot_be_read_or_always_fails_delays_nobody_else(self):
        self.timings = Timings(first_pause_s=0.01)
        async with self.bot() as chat:
            await chat.post("/telegram/updates", message={"message_id": "x", "chat": 5, "from": []})
            await chat.fault(method="sendMessage", chat_id=MAYA, error_code=400, count=FOR_EVER)
            await chat.say(MAYA, QUESTION)
            await chat.say(TOM, "/help")
            await chat.sees_text(TOM, "/support")
            await until_none_is_open()

        dead = {
            task.error[:17] async for task in Task.objects.filter(status=TaskStatus.DEAD_LETTER)
        }
        assert dead == {"it cannot be read", "BadRequest: scrip"}

    async def test_a_chat_that_takes_no_messages_costs_nothing_and_is_no_dead_letter(self):
        handled = Task.objects.filter(status=TaskStatus.IGNORED, delivery_count=1)
        async with self.bot() as chat:
            for number, closed in enumerate(CLOSED_CHATS, start=1):
                script = {"error_code": closed["code"], "description": closed["description"]}
                await chat.fault(method="sendMessage", chat_id=MAYA + number, count=9, **script)
                await chat.inject(MAYA + number, text=QUESTION)
                deadline = time.monotonic() + PATIENCE_S
                while await handled.acount() < number:
                    assert time.monotonic() < deadline, closed
                    await asyncio.sleep(0.02)
            assert await chat.calls() == []

        assert await Task.objects.acount() == len(CLOSED_CHATS)

    async def test_a_line_that_is_only_a_courtesy_is_left_out_after_two_deaths(self):
        self.timings = Timings(calm_s=0.01)
        await choose("extraction", "sandbox/hang")
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            await chat.sees_calls(lambda calls: len(calls) == 1)
            first = await TelegramUpdate.objects.aget()
            second = await TelegramUpdate.objects.acreate(
                bot_id=first.bot_id,
                update_id=first.update_id + 10**6,
                kind="message",
                chat_id=MAYA,
                user_id=MAYA,
                raw=first.raw,
            )
            await Task.objects.acreate(kind=TaskKind.MESSAGE, lane=f"{MAYA}:", update=second)
            notice = await Task.objects.acreate(
                kind=TaskKind.NOTICE, update=second, delivery_count=2
            )
            ignored = Task.objects.filter(pk=notice.pk, status=TaskStatus.IGNORED)
            deadline = time.monotonic() + PATIENCE_S
            while not await ignored.aexists():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)

            assert not any("Queued" in reply for reply in await chat.replies(MAYA))
            await Task.objects.filter(kind=TaskKind.MESSAGE).aupdate(stop_requested=True)


class ProcessTests(BotCase):
    async def test_a_second_runbot_with_the_same_token_or_database_is_refused(self):
        with TemporaryDirectory() as folder, running_sandbox() as base_url:
            # Whatever folders it has, as under systemd's PrivateTmp.
            elsewhere = override_settings(**environment(base_url), DATA_DIR=Path(folder))
            with elsewhere, patch.object(tempfile, "tempdir", folder):
                names = list(worker._only_ones())
                for name in names:
                    with (
                        self.subTest(name),
                        locked_name(name),
                        pytest.raises(BotRefused, match=f"process {os.getpid()}, of user"),
                    ):
                        await serve(asyncio.Event())

        assert len(names) == 2

    async def test_a_runbot_of_the_release_before_shuts_this_one_out(self):
        with (
            running_sandbox() as base_url,
            override_settings(**environment(base_url)),
            locked(settings.DATA_DIR / "runbot.lock", ", of before"),
            pytest.raises(BotRefused, match="of before"),
        ):
            await serve(asyncio.Event())

    async def test_containers_that_share_a_file_of_sqlite_shut_each_other_out(self):
        with TemporaryDirectory() as folder:
            database = {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/db.sqlite3"}
            with patch.dict(settings.DATABASES["default"], database):
                assert worker._sqlite_file() == Path(folder) / "db.sqlite3"
            with patch.dict(settings.DATABASES["default"], ENGINE="django.db.backends.postgresql"):
                assert worker._sqlite_file() is None

    async def test_a_runbot_with_a_token_and_a_database_of_its_own_may_run_beside_another(self):
        first = set(worker._only_ones())
        database = patch.dict(settings.DATABASES["default"], NAME="another")
        with database, override_settings(TELEGRAM_BOT_TOKEN="77:another-bots"):
            second = set(worker._only_ones())

        assert not first & second

    async def test_a_server_that_is_not_the_bot_api_is_named_in_one_line(self):
        odd = [True, [], {"url": 5}, {"id": "x"}, None]
        answers = [Canned(body={"ok": True, "result": result}) for result in odd]
        for answer in [*answers, Canned(body=b"<html>"), Canned(status=200, body={"status": "up"})]:
            with self.subTest(answer=answer.body):
                async with loopback(answer) as server:
                    odd_api = {
                        "TELEGRAM_BOT_TOKEN": BOT_TOKEN,
                        "TELEGRAM_API_BASE_URL": server.base_url,
                    }
                    with (
                        override_settings(**odd_api),
                        pytest.raises(BotRefused, match="does not answer as Telegram's"),
                    ):
                        await serve(asyncio.Event())
                    with (
                        override_settings(**odd_api, TELEGRAM_WEBHOOK_URL="https://b.example/"),
                        pytest.raises(WebhookRefused),
                    ):
                        await set_webhook()

    async def test_odd_answers_to_get_updates_are_named_in_one_line_too(self):
        script = '<html><script>a = ["x"]; b = [{c: 1}]</script>'
        bodies = ("{}", "[]", '{"ok": true, "result": 5}', '{"ok": true, "result": [5]}', script)
        with running_sandbox() as base_url:
            async with Relay(base_url).running() as relay:
                telegram = {"TELEGRAM_API_BASE_URL": f"{relay.url}/telegram"}
                for body in (*bodies, '{"ok": true, "result": [{"update_id": "x"}]}'):
                    with self.subTest(body):
                        relay.answer("getUpdates", body.encode())
                        with (
                            override_settings(**environment(base_url) | telegram),
                            pytest.raises(BotRefused, match="does not answer as Telegram's"),
                        ):
                            await asyncio.wait_for(serve(asyncio.Event()), PATIENCE_S)

    async def test_polling_that_falls_silent_is_started_again(self):
        with running_sandbox() as base_url:
            async with Relay(base_url).running() as relay:
                relay.hold(lambda method, fields: method == "getUpdates")
                async with Bot(BOT_TOKEN, base_url=f"{relay.url}/telegram/bot") as bot:
                    poller = Poller(bot, bot_id=1, silent_s=0.2)
                    with self.assertLogs("pipeline.bot.polling", "ERROR") as logs:
                        polling = asyncio.create_task(poller.poll())
                        await relay.passed("getUpdates", times=3)
                        polling.cancel()
                        await asyncio.wait({polling})

        assert "polling had stopped and is started again" in logs.output[0]

    async def test_polling_that_dies_of_a_mistake_is_started_again(self):
        class Broken(Bot):
            async def get_updates(self, *args: Any, **options: Any) -> Any:
                raise RuntimeError("a mistake, for the test")

        poller = Poller(Broken(BOT_TOKEN), bot_id=1)
        with self.assertLogs("pipeline.bot.polling", "ERROR") as logs:
            polling = asyncio.create_task(poller.poll())
            await until(lambda: len(logs.records) == 3)
            polling.cancel()
            await asyncio.wait({polling})

        assert "polling had stopped and is started again" in logs.output[2]
