"""Telegram or the database fails: everybody gets a word, nothing lives longer than it may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection
from django.test import override_settings
from django.utils import timezone

from agents.models import AgentModelConfig
from pipeline.bot.application import BotRefused
from pipeline.models import PipelineRun, TelegramUpdate
from pipeline.models.runs import RunStatus
from pipeline.worker import serve
from tests.canaries import BOT_TOKEN
from tests.made_up_agents import ANYWAY
from tests.pipeline.bot.chatting import (
    MAYA,
    OPERATOR,
    PATIENCE_S,
    BotCase,
    Chat,
    change_in_effect,
    choose,
    environment,
)
from tests.pipeline.bot.relay import Relay
from tests.pipeline.bot.test_conversation import PIXEL, QUESTION
from tests.sandbox.serving import running_sandbox

UNSTORED = "updates cannot be stored, so none is acknowledged"
FOR_EVER = 1_000_000
MARGIN_S = 2.9  # closing clients and threads, on a busy machine


async def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline, "what was waited for never came"
        await asyncio.sleep(0.02)


async def _ended_well() -> None:
    """Return when the one run has its answer."""
    deadline = time.monotonic() + PATIENCE_S
    while not await PipelineRun.objects.filter(status=RunStatus.OK).aexists():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def _are(count: int, seen: list[str]) -> bool:
    return len(seen) == count


def _down(*call: Any) -> None:
    raise OperationalError("the database is away, for the test")


class WordsForEveryFailureTests(BotCase):
    async def test_a_picture_that_telegram_does_not_hand_out_is_answered_by_a_line(self):
        async with self.bot() as chat:
            await chat.fault(method="getFile", error_code=400, description="Bad Request: gone")
            await chat.send_photo(MAYA, PIXEL)
            await chat.sees_text(MAYA, "no longer available from Telegram")

        assert not await PipelineRun.objects.aexists()

    async def test_a_picture_that_comes_at_the_second_try_is_read(self):
        async with self.bot() as chat:
            await chat.fault(method="getFile", error_code=502)
            await chat.send_photo(MAYA, PIXEL)
            await chat.sees_text(MAYA, "Draft to send")

    async def test_a_database_that_was_away_is_survived_and_every_message_is_answered(self):
        async with self.bot() as chat:
            await chat.say(MAYA, "/help")
            await chat.sees_text(MAYA, "/support")
            with self.assertLogs("pipeline", "ERROR") as logs:
                await sync_to_async(lambda: connection.execute_wrappers.append(_down))()
                try:
                    for said in ("/help", QUESTION):
                        await chat.say(MAYA, said)
                    await until(lambda: any(UNSTORED in line for line in logs.output))
                    acknowledged = await chat.acknowledged()
                finally:
                    await sync_to_async(lambda: connection.execute_wrappers.remove(_down))()
            await chat.sees_text(MAYA, "Draft to send")
            seen = await chat.replies(MAYA)

        assert len(acknowledged) == 1
        # A command waits for no message, so it may be answered before or after the question is.
        assert [sum("/support" in reply for reply in seen), len(seen)] == [2, 3]
        assert sum(UNSTORED in line for line in logs.output) == 1
        assert not any(record.exc_info for record in logs.records)

    async def test_a_stage_that_is_on_its_way_does_not_replace_the_answer(self):
        with running_sandbox() as base_url:
            async with Relay(base_url).running() as relay:
                relay.hold(lambda method, fields: fields.get("text", "").startswith("Reading"))
                changes = {
                    "TELEGRAM_API_BASE_URL": f"{relay.url}/telegram",
                    "DEFAULT_MODEL": "sandbox/latency-2000",
                }
                async with self.bot_at(base_url, **changes) as chat:
                    await chat.say(MAYA, QUESTION)
                    await asyncio.wait_for(relay.held.wait(), PATIENCE_S)
                    await _ended_well()
                    with pytest.raises(TimeoutError):  # the answer waits for what has left before
                        await asyncio.wait_for(relay.passed("editMessageText", times=2), 0.5)
                    relay.release()
                    await chat.sees_text(MAYA, "Draft to send")
                    (states,) = await chat.history(MAYA)

        assert "Draft to send" in states[-1]["text"]
        assert any(state["text"].startswith("Reading") for state in states)

    async def test_statements_are_not_kept_from_message_to_message(self):
        def statements() -> list[str]:
            return [query["sql"] for query in connection.queries]

        async with self.bot(DEBUG=True) as chat:
            await chat.say(MAYA, "/help")
            await chat.sees_text(MAYA, "/support")
            await sync_to_async(PipelineRun.objects.filter(pipeline="a sentinel").exists)()
            assert any("a sentinel" in sql for sql in await sync_to_async(statements)())
            await chat.say(MAYA, "/help")
            await chat.sees(MAYA, lambda seen: len(seen) == 2)

            assert not any("a sentinel" in sql for sql in await sync_to_async(statements)())


class StartTests(BotCase):
    async def test_a_call_that_fails_once_at_the_start_is_made_again(self):
        for method in ("getWebhookInfo", "setMyCommands", "getUpdates"):
            await TelegramUpdate.objects.all().adelete()  # each sandbox counts them from 1
            with self.subTest(method=method), running_sandbox() as base_url:
                before = Chat(base_url)
                await before.fault(method=method, error_code=502)
                await before.aclose()
                async with self.bot_at(base_url) as chat:
                    await chat.say(MAYA, "/help")
                    await chat.sees_text(MAYA, "/support")

    async def test_a_start_that_telegram_holds_up_at_any_call_can_be_stopped(self):
        for method in ("getMe", "getWebhookInfo", "deleteWebhook", "setMyCommands", "getUpdates"):
            with self.subTest(method=method), running_sandbox() as base_url:
                async with Relay(base_url).running() as relay:
                    chat = Chat(base_url)
                    webhook = {"url": "https://bot.example.com/hook"}
                    await chat.post(f"/telegram/bot{BOT_TOKEN}/setWebhook", **webhook)
                    await chat.fault(method=method, error_code=502, count=FOR_EVER)
                    await chat.aclose()
                    telegram = {"TELEGRAM_API_BASE_URL": f"{relay.url}/telegram"}
                    with override_settings(**environment(base_url) | telegram):
                        stopping = asyncio.Event()
                        running = asyncio.create_task(serve(stopping, take_over=True))
                        await relay.passed(method, times=2)
                        stopping.set()
                        await asyncio.wait_for(running, PATIENCE_S)

    async def test_a_refused_start_touches_no_run_of_the_bot_that_lives(self):
        await PipelineRun.objects.acreate(
            pipeline="support", source="telegram", started_at=timezone.now()
        )
        with running_sandbox() as base_url:
            settings = environment(base_url) | {"TELEGRAM_BOT_TOKEN": "123:short"}
            with override_settings(**settings), pytest.raises(BotRefused):
                await serve(asyncio.Event())

        assert (await PipelineRun.objects.aget()).status == RunStatus.RUNNING


class PollingTests(BotCase):
    async def test_a_token_refused_while_polling_ends_the_bot(self):
        for code in (401, 404):
            await TelegramUpdate.objects.all().adelete()  # each sandbox counts them from 1
            with self.subTest(code=code), running_sandbox() as base_url:
                chat = Chat(base_url)
                with override_settings(**environment(base_url)):
                    running = asyncio.create_task(serve(asyncio.Event()))
                    await chat.say(MAYA, "/help")
                    await chat.sees_text(MAYA, "/support")
                    await chat.fault(method="getUpdates", error_code=code)
                    await chat.say(MAYA, "/help")  # ends the long poll
                    with pytest.raises(BotRefused, match="TELEGRAM_BOT_TOKEN"):
                        await asyncio.wait_for(running, PATIENCE_S)
                await chat.aclose()

    async def test_an_outage_while_polling_is_one_line_and_loses_nothing(self):
        with self.assertLogs("pipeline.bot", "INFO") as logs:
            async with self.bot() as chat:
                await chat.say(MAYA, "/help")
                await chat.sees_text(MAYA, "/support")
                await chat.fault(method="getUpdates", error_code=502, count=3)
                for number in range(2, 4):
                    await chat.say(MAYA, "/help")
                    await chat.sees(MAYA, partial(_are, number))

        told = [record for record in logs.records if record.name.endswith("polling")]
        assert [record.levelname for record in told] == ["WARNING", "INFO"]
        assert not any(record.exc_info for record in logs.records)

    async def test_a_second_poller_is_named_as_such(self):
        with self.assertLogs("pipeline.bot.polling", "ERROR") as logs:
            async with self.bot() as chat:
                await chat.say(MAYA, "/help")
                await chat.sees_text(MAYA, "/support")
                deadline = time.monotonic() + PATIENCE_S
                while not logs.records:
                    assert time.monotonic() < deadline
                    await chat.post(f"/telegram/bot{BOT_TOKEN}/getUpdates", timeout=0)

        assert "another process uses this bot's token" in logs.output[0]


class StopTests(BotCase):
    async def test_a_stop_keeps_its_time_while_telegram_takes_no_answer(self):
        with running_sandbox() as base_url:
            async with self.bot_at(base_url, DRAIN_SECONDS=1) as chat:
                await chat.say(MAYA, QUESTION)
                await chat.sees(MAYA, lambda seen: len(seen) == 1)
                for method in ("editMessageText", "sendMessage"):
                    await chat.fault(method=method, error_code=502, count=FOR_EVER)
                await chat.sees_calls(lambda calls: len(calls) >= 2)
                stopped_at = time.monotonic()

        assert time.monotonic() - stopped_at < 1 + MARGIN_S

    async def test_lanes_and_background_steps_share_one_deadline(self):
        await AgentModelConfig.objects.aupsert("memory", "sandbox/hang", "ana", **ANYWAY)
        with running_sandbox() as base_url:
            async with self.bot_at(base_url, DRAIN_SECONDS=3) as chat:
                await chat.say(MAYA, QUESTION)
                await chat.sees_text(MAYA, "Draft to send")
                await chat.sees_calls(lambda calls: len(calls) == 3)  # the last one hangs
                await choose("extraction", "sandbox/hang")
                await change_in_effect()
                await chat.say(MAYA, QUESTION)
                await chat.sees_calls(lambda calls: len(calls) == 4)
                stopped_at = time.monotonic()

        assert time.monotonic() - stopped_at < 3 + MARGIN_S

    async def test_what_a_background_step_alerts_of_at_the_end_still_goes_out(self):
        await AgentModelConfig.objects.aupsert("memory", "sandbox/other-model", "ana", **ANYWAY)
        with running_sandbox() as base_url:
            async with Relay(base_url).running() as relay:
                relay.hold(
                    lambda method, fields: method == "completions" and "other-model" in fields[""]
                )
                openrouter = f"{relay.url}/openrouter/api/v1"
                async with self.bot_at(base_url, OPENROUTER_BASE_URL=openrouter) as chat:
                    assert await chat.add_operator() == OPERATOR
                    await chat.say(MAYA, QUESTION)
                    await chat.sees_text(MAYA, "Draft to send")
                    await asyncio.wait_for(relay.held.wait(), PATIENCE_S)
                    asyncio.get_running_loop().call_later(0.3, relay.release)
                after = Chat(base_url)
                seen = await after.replies(OPERATOR)
                await after.aclose()

        assert any("sandbox/other-model" in text for text in seen)
