"""One chat in order, chats side by side; how the bot starts and how it stops."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from django.test import override_settings
from django.utils import timezone

from agents.models import ResolverProcess
from pipeline.bot.application import BotRefused
from pipeline.models import LLMCall, PipelineRun, StepRun, Task
from pipeline.models.inbox import TaskKind
from pipeline.models.runs import CallStatus, RunStatus, StepStatus
from pipeline.worker import serve
from tests.canaries import BOT_TOKEN
from tests.pipeline.bot.chatting import MAYA, TOM, BotCase, Chat, environment
from tests.sandbox.serving import running_sandbox


class LaneTests(BotCase):
    async def test_one_chat_is_answered_strictly_in_order(self):
        async with self.bot(DEFAULT_MODEL="sandbox/latency-100") as chat:
            for number in range(4):
                await chat.say(MAYA, f"prospect number {number}")
            seen = await chat.sees(
                MAYA, lambda s: len(s) == 4 and all("Draft to send" in text for text in s)
            )

        assert ["prospect number 0" in seen[0], "prospect number 3" in seen[3]] == [True, True]
        runs = [run async for run in PipelineRun.objects.order_by("started_at")]
        for earlier, later in pairwise(runs):
            assert earlier.ended_at is not None
            assert earlier.ended_at <= later.started_at

    async def test_a_chat_that_hangs_holds_up_no_other(self):
        async with self.bot(DEFAULT_MODEL="sandbox/hang", DRAIN_SECONDS=1) as chat:
            await chat.say(MAYA, "one that hangs")
            await chat.sees_calls(lambda calls: len(calls) == 1)
            await chat.say(TOM, "/help")
            await chat.sees_text(TOM, "/support")

    async def test_a_second_message_is_acknowledged_while_the_first_is_being_answered(self):
        async with self.bot(DEFAULT_MODEL="sandbox/hang", DRAIN_SECONDS=1) as chat:
            await chat.say(MAYA, "one that hangs")
            await chat.sees_calls(lambda calls: len(calls) == 1)
            await chat.say(MAYA, "another one")
            await chat.sees_text(MAYA, "Queued")
            await chat.say(MAYA, "/help")
            await chat.sees_text(MAYA, "/support")

            assert len(await chat.calls()) == 1

    async def test_messages_sent_at_once_are_answered_in_their_order(self):
        """An answer stands where its placeholder stands, and those are sent side by side."""
        said = [f"prospect number {number}" for number in range(4)]
        async with self.bot(DEFAULT_MODEL="sandbox/latency-100") as chat:
            for text in said:
                await chat.say(MAYA, text)
            await chat.sees(
                MAYA, lambda s: len(s) == 4 and all("Draft to send" in text for text in s)
            )
            seen = await chat.replies(MAYA)

        assert [sum(text in reply for reply in seen) for text in said] == [1] * 4
        runs = PipelineRun.objects.order_by("started_at").select_related("user_message")
        assert [run.user_message.text async for run in runs if run.user_message] == said

    async def test_messages_of_one_batch_get_their_placeholders_in_their_order(self):
        with running_sandbox() as base_url:
            early = Chat(base_url)
            for number in range(3):
                await early.say(MAYA, f"prospect number {number}")
            await early.aclose()
            async with self.bot_at(base_url, DEFAULT_MODEL="sandbox/hang", DRAIN_SECONDS=1) as chat:
                seen = await chat.sees(MAYA, lambda seen: len(seen) == 2)
                notices = Task.objects.filter(kind=TaskKind.NOTICE)
                assert await notices.acount() == 1  # for the chat, and not for each message

        assert ["One moment" in seen[0], "Queued" in seen[1]] == [True] * 2


class LifeTests(BotCase):
    async def test_the_start_says_that_overrides_are_enabled_and_on_which_key(self):
        with self.assertLogs("pipeline.worker", "INFO") as logs:
            async with self.bot() as chat:
                await chat.say(MAYA, "/help")
                await chat.sees_text(MAYA, "/support")

        lines = [line for line in logs.output if "overrides:" in line]
        assert len(lines) == 2
        assert "enabled (0 active, v" in lines[0]
        assert "paid by the shared key" in lines[1]

    async def test_the_start_says_that_overrides_are_disabled_without_a_shared_key(self):
        with self.assertLogs("pipeline.worker", "INFO") as logs:
            async with self.bot(OPENROUTER_API_KEY="") as chat:
                await chat.say(MAYA, "/help")
                await chat.sees_text(MAYA, "/support")

        lines = [line for line in logs.output if "overrides:" in line]
        assert len(lines) == 2
        assert "disabled, OPENROUTER_API_KEY is not set" in lines[0]

    async def test_a_stop_lets_the_answer_under_way_be_finished(self):
        with running_sandbox() as base_url:
            async with self.bot_at(base_url, DEFAULT_MODEL="sandbox/latency-300") as chat:
                await chat.say(MAYA, "a question just before the stop")
                await chat.sees_calls(lambda calls: len(calls) == 1)
            after = Chat(base_url)
            seen = await after.replies(MAYA)
            await after.aclose()

        assert "Draft to send" in seen[0]
        assert {run.status async for run in PipelineRun.objects.all()} == {RunStatus.OK}
        assert not await StepRun.objects.filter(status=StepStatus.RUNNING).aexists()

    async def test_a_run_that_outlasts_the_stop_is_left_to_the_next_start(self):
        with running_sandbox() as base_url:
            async with self.bot_at(base_url, DEFAULT_MODEL="sandbox/hang", DRAIN_SECONDS=1) as chat:
                await chat.say(MAYA, "a question that hangs")
                await chat.sees_calls(lambda calls: len(calls) == 1)
            assert (await PipelineRun.objects.aget()).status == RunStatus.RUNNING
            assert (await LLMCall.objects.aget()).status == CallStatus.UNKNOWN
            async with self.bot_at(base_url) as chat:
                await chat.sees_text(MAYA, "Draft to send")
                assert len(await chat.replies(MAYA)) == 1

        assert (await PipelineRun.objects.aget()).status == RunStatus.OK
        assert (await Task.objects.aget(kind=TaskKind.MESSAGE)).delivery_count == 1

    async def test_an_open_run_that_no_update_leads_to_is_closed_at_the_start(self):
        run = await PipelineRun.objects.acreate(
            pipeline="support", source="telegram", started_at=timezone.now()
        )
        async with self.bot() as chat:
            await chat.say(MAYA, "/help")
            await chat.sees_text(MAYA, "/support")

        await run.arefresh_from_db()
        assert run.status == RunStatus.INTERRUPTED

    async def test_a_running_bot_is_listed_as_a_process_until_it_stops(self):
        async with self.bot() as chat:
            await chat.say(MAYA, "/help")
            await chat.sees_text(MAYA, "/support")
            deadline = asyncio.get_running_loop().time() + 10
            while not (row := await ResolverProcess.objects.afirst()):
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.02)
            assert row.role == "bot"

        assert not await ResolverProcess.objects.aexists()

    async def test_a_bot_that_starts_before_telegram_answers_waits_for_it(self):
        with running_sandbox() as base_url:
            port = int(base_url.rsplit(":", 1)[1])
        stopping = asyncio.Event()
        with override_settings(**environment(f"http://127.0.0.1:{port}")):
            running = asyncio.create_task(serve(stopping))
            await asyncio.sleep(0)
            with running_sandbox(port=port) as base_url:
                chat = Chat(base_url)
                await chat.say(MAYA, "/help")
                await chat.sees_text(MAYA, "/support")
                stopping.set()
                await running
                await chat.aclose()

    async def test_a_bot_that_is_stopped_before_telegram_answers_stops(self):
        with running_sandbox() as base_url:
            pass
        stopping = asyncio.Event()
        with override_settings(**environment(base_url)):
            running = asyncio.create_task(serve(stopping))
            await asyncio.sleep(0.1)
            stopping.set()
            await asyncio.wait_for(running, 10)

    async def test_a_foreign_webhook_is_not_taken_over_unasked(self):
        with running_sandbox() as base_url:
            chat = Chat(base_url)
            await chat.post(
                f"/telegram/bot{BOT_TOKEN}/setWebhook", url="https://bot.example.com/hook"
            )
            with override_settings(**environment(base_url)):
                with pytest.raises(BotRefused, match="--take-over"):
                    await serve(asyncio.Event())

                stopping = asyncio.Event()
                running = asyncio.create_task(serve(stopping, take_over=True))
                await chat.say(MAYA, "/help")
                await chat.sees_text(MAYA, "/support")
                stopping.set()
                await running
            await chat.aclose()

    async def test_a_missing_or_refused_token_is_named(self):
        with running_sandbox() as base_url:
            for token in ("", "123:short"):
                with (
                    self.subTest(token=token),
                    override_settings(**environment(base_url) | {"TELEGRAM_BOT_TOKEN": token}),
                    pytest.raises(BotRefused, match="TELEGRAM_BOT_TOKEN"),
                ):
                    await serve(asyncio.Event())
