"""What members see and change of their own: models and reasons, settings, memory, and its end."""

from __future__ import annotations

from datetime import timedelta

from asgiref.sync import sync_to_async
from django.apps import apps
from django.utils import timezone

from agents.models import CatalogModel
from pipeline.models import (
    CasebookEntry,
    Fact,
    LLMCall,
    Member,
    PipelineRun,
    StepRun,
    TelegramUpdate,
    TextBlob,
)
from pipeline.models.members import Access
from pipeline.people import erasure
from tests.canaries import MEMBER_KEY
from tests.pipeline.bot.chatting import MAYA, TOM, BotCase, Chat, change_in_effect, choose
from tests.pipeline.bot.test_following_up import SAVE, is_answered
from tests.pipeline.cases import until

CANARY = "Quillfeather"
QUESTION = f"CFO of {CANARY} Logistics, went silent after the price"


async def add_maya() -> None:
    maya = Member(telegram_id=MAYA, name="Maya", access=Access.APPROVED)
    maya.keep_key("openrouter", MEMBER_KEY)
    await maya.asave()


def rows_with(words: str) -> list[str]:
    """Name each table that holds the words."""
    return [
        model._meta.label
        for model in apps.get_models()
        for row in model._default_manager.values_list()
        if words in str(row)
    ]


class ModelTests(BotCase):
    async def test_model_tells_for_each_agent_what_would_run_why_and_who_pays(self):
        await add_maya()
        await choose("strategist", "google/gemini-2.5-flash")
        async with self.bot() as chat:
            await until(CatalogModel.objects.aexists)  # with the models' names
            await chat.say(MAYA, "/model")
            said = await chat.sees_text(MAYA, "If you asked me now:")

        today = timezone.localdate()
        assert (
            "• Your strategist runs on Gemini 2.5 Flash. Your team's admin chose it on "
            f"{today.day} {today:%b}. The team pays."
        ) in said
        assert (
            "• Your memory runs on GPT-5 Mini. It's your default model. Your OpenRouter key pays."
        ) in said
        assert "ana" not in said
        assert len(said.splitlines()) == 5

    async def test_model_says_where_nobody_may_pay(self):
        async with self.bot(SHARED_KEY_FOR_MEMBERS=False) as chat:
            await chat.say(TOM, "/model")
            said = await chat.sees_text(TOM, "If you asked me now:")

        assert said.count("There's no API key to pay for this") == 4

    async def test_why_is_about_the_answer_replied_to_or_the_last(self):
        async with self.bot() as chat:
            await until(CatalogModel.objects.aexists)
            await chat.say(MAYA, "/why")
            await chat.sees_text(MAYA, "no answer to explain")
            await chat.say(MAYA, QUESTION)
            first = (await is_answered(chat, MAYA, 1))[-1]
            await choose("strategist", "google/gemini-2.5-flash")
            await change_in_effect()
            await chat.say(MAYA, QUESTION)
            await is_answered(chat, MAYA, 2)
            await chat.say(MAYA, "/why")
            await chat.sees_text(MAYA, "strategist ran on Gemini 2.5 Flash")
            await chat.say(MAYA, "/why", reply_to=first["message_id"])
            await chat.sees_text(MAYA, "strategist ran on GPT-5 Mini")


class SettingsTests(BotCase):
    async def test_settings_show_who_pays_and_take_a_key_out(self):
        await add_maya()
        async with self.bot() as chat:
            await chat.say(MAYA, "/settings")
            await chat.sees_text(MAYA, "Your own OpenRouter key")
            await chat.press(MAYA, "Remove my OpenRouter key")
            await chat.sees_text(MAYA, "I've removed your key")
            await chat.say(MAYA, "/settings")
            await chat.sees_text(MAYA, "The team's key pays")

        assert (await Member.objects.aget(telegram_id=MAYA)).api_key is None


class MemoryTests(BotCase):
    async def test_memory_is_shown_used_and_forgotten(self):
        async with self.bot() as chat:
            await chat.say(MAYA, "/memory")
            await chat.sees_text(MAYA, "I don't remember anything about you yet")
            await chat.say(MAYA, QUESTION)
            await is_answered(chat, MAYA, 1)
            await until(Fact.objects.filter(member__telegram_id=MAYA).aexists)
            fact = (await Fact.objects.all()[:1].aget()).text
            await chat.say(MAYA, "/memory")
            await chat.sees_text(MAYA, f"• {fact}")
            await chat.say(MAYA, "And her board?")
            await is_answered(chat, MAYA, 2)
            run = await PipelineRun.objects.select_related("background").alatest("started_at")
            await chat.press(MAYA, "Forget all of this")
            await chat.sees_text(MAYA, "I no longer remember anything about you")

        assert run.background is not None
        assert fact in run.background.text


class FailureTests(BotCase):
    async def test_a_line_of_failure_has_a_button_that_tries_again(self):
        await choose("strategist", "sandbox/retired")
        async with self.bot() as chat:
            await chat.say(MAYA, QUESTION)
            line = await chat.sees_text(MAYA, "(ref ")
            await choose("strategist", "google/gemini-2.5-flash")
            await change_in_effect()
            await chat.press(MAYA, "↻ Try again")
            await is_answered(chat, MAYA, 1)

        failed = await PipelineRun.objects.aget(status="failed")
        assert str(failed.pk)[:8] in line


class ForgetTests(BotCase):
    async def test_forget_asks_and_then_erases_all_but_the_figures(self):
        await add_maya()
        async with self.bot() as chat:
            await self._a_past(chat)
            spent = [str(cost) async for cost in LLMCall.objects.values_list("cost_usd", flat=True)]
            await chat.say(MAYA, "/forget")
            await chat.sees_text(MAYA, "You can't undo it")
            assert await sync_to_async(rows_with)(CANARY)
            await chat.press(MAYA, "Erase everything")
            await chat.sees_text(MAYA, "I've erased your key")

            assert await sync_to_async(rows_with)(CANARY) == []
            assert await sync_to_async(rows_with)("Maya") == []
            left = [str(cost) async for cost in LLMCall.objects.values_list("cost_usd", flat=True)]
            assert left == spent
            assert not await PipelineRun.objects.filter(member__isnull=False).aexists()
            maya = await Member.objects.aget(telegram_id=MAYA)
            assert (maya.access, maya.api_key, maya.forgotten_runs) == (Access.APPROVED, None, 1)

            await chat.say(MAYA, "A new one")
            await is_answered(chat, MAYA, 2)

    async def test_others_keep_what_is_theirs(self):
        async with self.bot() as chat:
            await chat.say(TOM, QUESTION)
            await is_answered(chat, TOM, 1)
            await until(Fact.objects.filter(member__telegram_id=TOM).aexists)
            await self._a_past(chat)
            maya = await Member.objects.aget(telegram_id=MAYA)
            await sync_to_async(erasure.erase)(maya, now=timezone.now())

        tom = await PipelineRun.objects.select_related("user_message", "answer").aget(
            member__telegram_id=TOM
        )
        assert tom.user_message is not None
        assert tom.user_message.text == QUESTION
        assert tom.answer is not None
        assert await Fact.objects.filter(member__telegram_id=TOM).aexists()
        assert not await CasebookEntry.objects.aexists()

    async def test_a_run_under_way_writes_nothing_back_and_its_spend_is_booked(self):
        async with self.bot(DEFAULT_MODEL="sandbox/latency-1500") as chat:
            await chat.say(MAYA, QUESTION)
            await chat.sees_calls(lambda calls: len(calls) == 1)
            maya = await Member.objects.aget(telegram_id=MAYA)
            await sync_to_async(erasure.erase)(maya, now=timezone.now())
            ended = LLMCall.objects.exclude(status__in=["running", "interrupted"])
            await until(ended.aexists)

        assert await sync_to_async(rows_with)(CANARY) == []
        assert not await Fact.objects.aexists()
        assert await StepRun.objects.filter(status="interrupted").acount() == 1
        assert (await PipelineRun.objects.aget()).status == "cancelled"

    async def test_an_erasure_does_not_give_the_days_limits_anew(self):
        async with self.bot(RUNS_PER_HOUR=1) as chat:
            await chat.say(MAYA, QUESTION)
            await is_answered(chat, MAYA, 1)
            maya = await Member.objects.aget(telegram_id=MAYA)
            await sync_to_async(erasure.erase)(maya, now=timezone.now())
            await chat.say(MAYA, "Another")
            await chat.sees_text(MAYA, "limit of 1 messages an hour")
            old = timezone.now() - timedelta(hours=1)
            await Member.objects.filter(pk=maya.pk).aupdate(forgotten_at=old)
            await chat.say(MAYA, "A third")
            await is_answered(chat, MAYA, 2)

    async def _a_past(self, chat: Chat) -> None:
        """Have Maya ask, be remembered, and save a case."""
        await chat.say(MAYA, QUESTION)
        await is_answered(chat, MAYA, 1)
        await until(Fact.objects.filter(member__telegram_id=MAYA).aexists)
        await chat.press(MAYA, SAVE)
        await chat.sees_text(MAYA, "Saved.")
        assert await TelegramUpdate.objects.filter(raw__contains=CANARY).aexists()
        assert await TextBlob.objects.filter(text__contains=CANARY).aexists()
