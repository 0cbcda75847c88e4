"""What is on record of a few runs is what it was, column by column, whatever the code is called.

`tests/data/frozen_rows.json` holds the rows that this story leaves. OBSERVATORY_FREEZE=1 writes
them anew, which is right only where the record itself is meant to change. New columns are no
difference.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from asgiref.sync import sync_to_async
from django.test import SimpleTestCase, override_settings

from agents.models import AgentModelConfig, OnFailure
from pipeline.models import Member, PipelineRun, Scenario
from pipeline.models.runs import Source
from tests.canaries import MEMBER_KEY
from tests.made_up_agents import ANYWAY
from tests.pipeline import frozen
from tests.pipeline.bot.chatting import MAYA, TOM, BotCase, Chat
from tests.pipeline.bot.test_conversation import PIXEL
from tests.pipeline.bot.test_restarts import until_none_is_open
from tests.pipeline.frozen_answers import FrozenAnswers
from tests.pipeline.test_admin import operator
from tests.pipeline.test_rerun import MAY, press
from tests.sandbox.serving import running_sandbox

STORED = Path(__file__).parents[1] / "data/frozen_rows.json"
SONNET = "anthropic/claude-sonnet-4.5"
ANSWER = "I would ask her what nine days cost, and propose a call on Thursday."


async def choose(agent: str, model_id: str, on_failure: OnFailure = OnFailure.FAIL) -> None:
    save = AgentModelConfig.objects.aupsert
    await save(agent, model_id, "olga", on_failure=on_failure, **ANYWAY)


async def ask(chat: Chat, person: int, text: str) -> None:
    """Say something, and wait until all that follows from it has ended."""
    await chat.say(person, text)
    await until_stored(chat)
    await until_none_is_open()


async def until_stored(chat: Chat) -> None:
    told = len(await chat.acknowledged())
    while len(await chat.acknowledged()) == told:  # noqa: ASYNC110 - another server's state
        await asyncio.sleep(0.02)


class DifferencesTests(SimpleTestCase):
    def test_a_changed_value_and_a_missing_row_or_text_are_differences_and_a_new_column_is_none(
        self,
    ):
        stored = {
            "pipeline_steprun": [{"agent": "a", "status": "ok"}],
            frozen.TEXTS: [{"text": "x"}],
        }
        new = {"agent": "a", "status": "ok", "column": "new"}
        text = {frozen.TEXTS: [{"text": "x"}, {"text": "y"}]}

        assert frozen.differences(stored, {"pipeline_steprun": [new], **text}) == []
        for steps, texts in (([new | {"status": "no"}], text), ([], text), ([new], {})):
            assert len(frozen.differences(stored, {"pipeline_steprun": steps, **texts})) == 1


@override_settings(SECURE_SSL_REDIRECT=False)
class FrozenTests(BotCase):
    async def test_the_rows_of_these_runs_are_the_stored_ones(self):
        with running_sandbox(extension=FrozenAnswers()) as base_url:
            await self.people_and_scenario()
            async with self.bot_at(base_url) as chat:
                await ask(chat, MAYA, "VP of Strategy at a mid-size bank, worried about switching")
                await chat.send_photo(MAYA, PIXEL, "What does she mean?")
                await chat.sees(MAYA, lambda seen: sum("Draft" in one for one in seen) == 2)
                await until_none_is_open()
                await ask(chat, TOM, "/train")
                await ask(chat, TOM, ANSWER)
                await self.failing_and_falling_back(chat)
                await self.cancelled(chat)
            await self.resumed(base_url)
            async with self.bot_at(base_url):
                await self.rerun()

        now = await sync_to_async(frozen.rows)()
        if os.environ.get("OBSERVATORY_FREEZE") == "1":
            STORED.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        stored = json.loads(STORED.read_text(encoding="utf-8"))
        assert frozen.differences(stored, now) == []

    async def people_and_scenario(self) -> None:
        maya = Member(telegram_id=MAYA, name="Maya", access="approved")
        maya.keep_key("openrouter", MEMBER_KEY)
        await maya.asave()
        await Scenario.objects.acreate(title="Silence", difficulty=1, text="He went silent.")
        await choose("strategist", SONNET)

    async def failing_and_falling_back(self, chat: Chat) -> None:
        await choose("strategist", "sandbox/retired")
        await ask(chat, MAYA, "CFO of a logistics firm, went silent")
        await choose("strategist", "sandbox/retired", OnFailure.DEFAULT_MODEL)
        await ask(chat, MAYA, "COO of a hospital, wants a pilot")

    async def cancelled(self, chat: Chat) -> None:
        before = len(await chat.calls())
        await choose("strategist", "sandbox/hang")
        await chat.say(MAYA, "CEO of a bakery, asks for a discount")
        await chat.sees_calls(lambda calls: len(calls) == before + 2)
        await ask(chat, MAYA, "/cancel")

    async def resumed(self, base_url: str) -> None:
        async with self.bot_at(base_url, DRAIN_SECONDS=1) as chat:
            before = len(await chat.calls())
            await chat.say(TOM, "Head of IT, has been burnt by a migration")
            await chat.sees_calls(lambda calls: len(calls) == before + 2)
        await choose("strategist", "google/gemini-2.5-flash")
        async with self.bot_at(base_url) as chat:
            await chat.sees_text(TOM, "answered by google/gemini-2.5-flash")
            await until_none_is_open()

    async def rerun(self) -> None:
        first = await PipelineRun.objects.order_by("started_at").afirst()
        assert first is not None
        client = await sync_to_async(operator)("ana", *MAY)
        await sync_to_async(press)(client, first)
        await until_none_is_open()
        assert await PipelineRun.objects.filter(source=Source.RERUN, status="ok").aexists()
