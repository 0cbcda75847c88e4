"""What a member meets: an answer that grows in place, and one plain line for everything else."""

from __future__ import annotations

import asyncio
import base64
from unittest.mock import patch

from telegram import Message

from agents.models import AgentModelConfig, OnFailure
from pipeline.bot.handlers import requests
from pipeline.journal.fencing import Lease
from pipeline.models import LLMCall, Member, PipelineRun, TelegramUpdate, TextBlob
from pipeline.models.members import Access
from tests.canaries import CLAUDE_KEY, MEMBER_KEY, SHARED_KEY
from tests.made_up_agents import ANYWAY
from tests.pipeline.bot.chatting import MAYA, NOOR, OPERATOR, TOM, BotCase, change_in_effect

QUESTION = "VP of Strategy at a mid-size bank, worried about switching cost"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class ConversationTests(BotCase):
    async def test_a_question_is_answered_by_an_edit_of_the_placeholder(self):
        async with self.bot() as chat:
            await chat.say(MAYA, f"/support {QUESTION}")
            answer = await chat.sees_text(MAYA, "Draft to send")

            (states,) = await chat.history(MAYA)

        assert QUESTION in answer
        assert states[0]["method"] == "sendMessage"
        assert states[0]["text"] == "👀 One moment…"
        assert {state["method"] for state in states[1:]} == {"editMessageText"}
        assert states[-1]["text"] == answer

    async def test_plain_text_is_answered_like_the_command(self):
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            await chat.sees_text(MAYA, "Draft to send")

        assert await PipelineRun.objects.filter(pipeline="support", status="ok").acount() == 1

    async def test_the_draft_is_a_block_that_copies_with_one_tap(self):
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            await chat.sees_text(MAYA, "Draft to send")
            message = (await chat.messages(MAYA))[-1]

        assert "pre" in {entity["type"] for entity in message["entities"]}

    async def test_the_placeholder_does_not_wait_for_what_may_have_been_sent_together(self):
        have_come = asyncio.Event()

        async def joined(row: TelegramUpdate, lease: Lease, message: Message) -> list[Message]:
            await have_come.wait()
            return [message]

        with patch.object(requests, "joined", joined):
            async with self.bot() as chat:
                await chat.say(MAYA, QUESTION)
                await chat.sees_text(MAYA, "One moment")
                assert not await PipelineRun.objects.aexists()
                have_come.set()
                await chat.sees_text(MAYA, "Draft to send")

    async def test_a_slow_step_shows_its_name_before_the_answer(self):
        async with self.bot(DEFAULT_MODEL="sandbox/latency-1700") as chat:
            await chat.say(MAYA, QUESTION)
            await chat.sees_text(MAYA, "Draft to send")
            (states,) = await chat.history(MAYA)

        assert any(state["text"].startswith("Reading") for state in states[1:-1])

    async def test_a_picture_reaches_extraction_and_no_other_agent(self):
        async with self.bot() as chat:
            await chat.send_photo(MAYA, PIXEL, "What does she mean?")
            await chat.sees_text(MAYA, "Draft to send")
            calls = await chat.calls()

        with_picture = {c["agent"] for c in calls if "image_url" in str(c["messages"])}
        assert with_picture == {"extraction"}
        run = await PipelineRun.objects.aget()
        assert run.pipeline == "support_photo"

    async def test_commands_without_a_run_say_what_to_do(self):
        async with self.bot() as chat:
            for text, line in [
                ("/start", "sales co-pilot"),
                ("/help", "/support VP of Strategy"),
                ("/support", "after the command"),
                ("/nonsense", "don't know that command"),
            ]:
                with self.subTest(text=text):
                    await chat.say(TOM, text)
                    await chat.sees_text(TOM, line)

        assert not await PipelineRun.objects.aexists()

    async def test_the_member_pays_for_all_but_the_overridden_agent(self):
        member = Member(telegram_id=MAYA, name="Maya", access=Access.APPROVED)
        member.keep_key("openrouter", MEMBER_KEY)
        await member.asave()
        await AgentModelConfig.objects.aupsert("strategist", "anthropic/claude-sonnet-4.5", "ana")
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            await chat.sees_text(MAYA, "anthropic/claude-sonnet-4.5")
            await chat.sees_calls(lambda calls: len(calls) == 3)
            on_the_wire = {c["agent"]: (c["model"], c["key"]) for c in await chat.calls()}

        assert on_the_wire == {
            "extraction": ("openai/gpt-5-mini", MEMBER_KEY),
            "strategist": ("anthropic/claude-sonnet-4.5", SHARED_KEY),
            "memory": ("openai/gpt-5-mini", MEMBER_KEY),
        }

    async def test_a_change_is_in_effect_at_the_next_message_without_a_restart(self):
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            await chat.sees_text(MAYA, "answered by openai/gpt-5-mini")
            await AgentModelConfig.objects.aupsert("strategist", "google/gemini-2.5-flash", "ana")
            await change_in_effect()

            await chat.say(MAYA, QUESTION)
            await chat.sees_text(MAYA, "answered by google/gemini-2.5-flash")

            await AgentModelConfig.objects.adeactivate("strategist", "ana")
            await change_in_effect()
            await chat.say(MAYA, QUESTION)
            await chat.sees(
                MAYA, lambda seen: len(seen) == 3 and "answered by openai/gpt-5-mini" in seen[2]
            )


class RefusalTests(BotCase):
    async def test_a_stranger_gets_one_line_and_the_operators_hear_of_it_once(self):
        async with self.bot(ACCESS="closed") as chat:
            assert await chat.add_operator() == OPERATOR
            await chat.say(NOOR, QUESTION)
            await chat.sees_text(NOOR, "asked an admin to let you in")
            await chat.say(NOOR, QUESTION)
            await chat.sees_text(NOOR, "still waiting for an admin")
            alerts = await chat.sees(OPERATOR, lambda seen: any(str(NOOR) in text for text in seen))
            calls = await chat.calls()

        assert calls == []
        assert not await PipelineRun.objects.aexists()
        assert sum(str(NOOR) in text for text in alerts) == 1

    async def test_an_approval_counts_from_the_next_message_on(self):
        async with self.bot(ACCESS="closed") as chat:
            await chat.say(NOOR, QUESTION)
            await chat.sees_text(NOOR, "asked an admin")
            await Member.objects.filter(telegram_id=NOOR).aupdate(access=Access.APPROVED)
            await chat.say(NOOR, QUESTION)
            await chat.sees_text(NOOR, "Draft to send")

    async def test_a_blocked_member_gets_one_line_also_when_the_bot_is_open(self):
        await Member.objects.acreate(telegram_id=NOOR, access=Access.BLOCKED)
        async with self.bot() as chat:
            await chat.say(NOOR, QUESTION)
            await chat.sees_text(NOOR, "can't use this bot")
            assert await chat.calls() == []

    async def test_a_key_among_words_is_deleted_and_goes_nowhere(self):
        pasted = CLAUDE_KEY
        async with self.bot() as chat:
            await chat.say(MAYA, f"use {pasted} please")
            await chat.sees_text(MAYA, "looks like an API key")
            texts = [m.get("text", "") for m in await chat.messages(MAYA)]
            calls = await chat.calls()

        assert not any(pasted in text for text in texts)
        assert calls == []
        assert not await TextBlob.objects.filter(text__contains=pasted).aexists()

    async def test_without_a_payer_nothing_is_called_and_the_member_is_told(self):
        async with self.bot(SHARED_KEY_FOR_MEMBERS=False) as chat:
            await chat.say(TOM, QUESTION)
            await chat.sees_text(TOM, "no API key")
            assert await chat.calls() == []

        assert not await PipelineRun.objects.aexists()


class FailureTests(BotCase):
    async def test_a_failing_override_is_one_line_for_the_member_and_an_alert(self):
        await AgentModelConfig.objects.aupsert("strategist", "sandbox/retired", "ana", **ANYWAY)
        async with self.bot() as chat:
            assert await chat.add_operator() == OPERATOR
            await chat.say(MAYA, QUESTION)
            line = await chat.sees_text(MAYA, "⚠️")
            alert = await chat.sees_text(OPERATOR, "sandbox/retired")

        assert (
            "This model isn't available right now. An admin can choose another one. "
            "Your admins have been told. (ref "
        ) in line
        assert "Traceback" not in line
        assert "strategist" in alert
        run = await PipelineRun.objects.aget()
        assert str(run.id)[:8] in line

    async def test_a_fallback_is_announced_in_the_answer(self):
        await AgentModelConfig.objects.aupsert(
            "strategist", "sandbox/retired", "ana", on_failure=OnFailure.DEFAULT_MODEL, **ANYWAY
        )
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            answer = await chat.sees_text(MAYA, "Draft to send")

        told = "The model chosen for strategist couldn't be used, so openai/gpt-5-mini answered"
        assert told in answer

    async def test_another_model_than_asked_for_alerts_and_is_marked(self):
        await AgentModelConfig.objects.aupsert("strategist", "sandbox/other-model", "ana", **ANYWAY)
        async with self.bot() as chat:
            assert await chat.add_operator() == OPERATOR
            await chat.say(MAYA, QUESTION)
            await chat.sees_text(MAYA, "Draft to send")
            await chat.sees_text(OPERATOR, "answered by openai/gpt-4o-mini")

        call = await LLMCall.objects.aget(is_mismatch=True)
        assert call.requested_model == "sandbox/other-model"
        assert call.served_model == "openai/gpt-4o-mini"

    async def test_telegram_asking_to_wait_delays_the_answer_and_loses_nothing(self):
        async with self.bot() as chat:
            await chat.fault(
                method="editMessageText", chat_id=MAYA, error_code=429, retry_after=1, count=2
            )
            await chat.say(MAYA, QUESTION)
            await chat.say(TOM, QUESTION)
            await chat.sees_text(TOM, "Draft to send")
            await chat.sees_text(MAYA, "Draft to send")

    async def test_refused_entities_fall_back_to_plain_text(self):
        async with self.bot() as chat:
            await chat.fault(
                method="editMessageText",
                chat_id=MAYA,
                error_code=400,
                description="Bad Request: can't parse entities: for the test",
            )
            await chat.say(MAYA, QUESTION)
            await chat.sees_text(MAYA, "Draft to send")

    async def test_an_answer_whose_placeholder_is_gone_is_sent_anew(self):
        async with self.bot(DEFAULT_MODEL="sandbox/latency-300") as chat:
            await chat.fault(
                method="editMessageText",
                chat_id=MAYA,
                error_code=400,
                description="Bad Request: message to edit not found",
                count=5,
            )
            await chat.say(MAYA, QUESTION)
            await chat.sees_text(MAYA, "Draft to send")
