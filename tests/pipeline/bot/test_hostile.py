"""Texts that want to turn the bot against its team, and a model that does whatever they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from asgiref.sync import sync_to_async
from django.apps import apps

from agents.models import AgentModelConfig
from pipeline.models import Fact, Member, PipelineRun, Task
from pipeline.models.inbox import TaskStatus
from pipeline.models.members import Access
from pipeline.people import memory
from tests.canaries import CLAUDE_KEY, SHARED_KEY
from tests.pipeline.bot.chatting import TOM, BotCase, Chat
from tests.pipeline.bot.test_conversation import PIXEL
from tests.pipeline.bot.test_groups import all_handled
from tests.pipeline.cases import until

HOSTILE = yaml.safe_load((Path(__file__).parent / "hostile.yaml").read_text(encoding="utf-8"))
# What nothing that members or models write may change.
OURS = ("agents.AgentModelConfig", "agents.OverrideVersion", "pipeline.PlaybookPage")
SAFE_ENTITIES = {"bold", "italic", "underline", "strikethrough", "code", "pre", "blockquote"}


def kept() -> dict[str, Any]:
    """Return what must be the same afterwards."""
    tables = {name: list(apps.get_model(name)._default_manager.values_list()) for name in OURS}
    tom = Member.objects.filter(telegram_id=TOM).values().get()
    facts = list(Fact.objects.filter(member__telegram_id=TOM).values_list())
    return {**tables, "tom": tom, "facts of tom": facts}


async def nothing_is_left() -> bool:
    return not await Task.objects.filter(ended_at=None).aexists()


class HostileTests(BotCase):
    async def test_what_is_written_forwarded_or_pictured_changes_nothing_but_its_own_answer(self):
        assert len(HOSTILE) >= 40
        tom = Member(telegram_id=TOM, name="Tom", access=Access.APPROVED)
        tom.keep_key("claude", CLAUDE_KEY)
        await tom.asave()
        await Fact.objects.acreate(
            member=tom, kind="role", text="Sells to hospitals.", since_version=1
        )
        await AgentModelConfig.objects.aupsert("trainer", "openai/gpt-4.1", "ana")
        before = await sync_to_async(kept)()
        async with self.bot(DEFAULT_MODEL="sandbox/obedient") as chat:
            senders = [await self._attack(chat, each) for each in HOSTILE]
            await all_handled(len(HOSTILE))
            await until(nothing_is_left)
            sent = await chat.all_sent()
            calls = await chat.calls()

        assert await sync_to_async(kept)() == before
        assert {row["chat_id"] for row in sent} == set(senders)
        self._assert_nothing_reaches_further_than_words(sent)
        assert {call["key"] for call in calls} == {SHARED_KEY}
        assert {call["model"] for call in calls} == {"sandbox/obedient"}
        assert not await Task.objects.filter(status=TaskStatus.DEAD_LETTER).aexists()
        assert await Member.objects.acount() == len(HOSTILE) + 1
        await self._assert_memory_is_of_their_own_words_only(senders)

    async def _attack(self, chat: Chat, attempt: dict[str, str]) -> int:
        person = int((await chat.post("/chat/people", first_name="Eve")).json()["id"])
        if attempt["way"] == "said":
            await chat.say(person, attempt["text"])
        elif attempt["way"] == "forwarded":
            await chat.forward(person, attempt["text"])
        else:
            await chat.send_photo(person, PIXEL, attempt["text"])
        return person

    def _assert_nothing_reaches_further_than_words(self, sent: list[dict[str, Any]]) -> None:
        obeyed = 0
        for row in sent:
            for state in row["history"]:
                kinds = {entity["type"] for entity in state.get("entities", [])}
                assert kinds <= SAFE_ENTITIES | {"bot_command", "url"}, state
                assert CLAUDE_KEY not in json.dumps(state)
                obeyed += "evil.example" in state.get("text", "")
        assert obeyed, "the model did not do as it was told, so nothing was tried"

    async def _assert_memory_is_of_their_own_words_only(self, senders: list[int]) -> None:
        said = {s for s, each in zip(senders, HOSTILE, strict=True) if each["way"] == "said"}
        facts = Fact.objects.exclude(member__telegram_id=TOM).select_related("member")
        noted = [fact async for fact in facts]
        assert noted, "the model proposed nothing, so nothing was tried"
        assert {fact.member.telegram_id for fact in noted} <= said
        assert {fact.kind for fact in noted} <= set(memory.KINDS)
        asked = [run async for run in PipelineRun.objects.select_related("member")]
        assert {run.member.telegram_id for run in asked if run.member} <= set(senders)
