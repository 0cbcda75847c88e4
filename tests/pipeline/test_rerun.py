"""Running a run again: today's models, the shared key, a worker, and nothing else touched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client, TestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agents.models import AgentModelConfig
from pipeline.models import Fact, LLMCall, Member, PipelineRun, Task, TextsRead
from pipeline.models.inbox import TaskKind, TaskStatus
from pipeline.models.runs import RunStatus, Source
from pipeline.people import limits
from pipeline.people.erasure import erase
from pipeline.queue.base import Timings
from pipeline.worker import work
from tests.canaries import MEMBER_KEY, SHARED_KEY
from tests.made_up_agents import ANYWAY
from tests.pipeline.bot.chatting import MAYA, PATIENCE_S, BotCase, Chat, environment
from tests.pipeline.bot.test_restarts import until_none_is_open
from tests.pipeline.recorded import a_run, text
from tests.pipeline.test_admin import operator, page_of
from tests.sandbox.serving import running_sandbox

CLAUDE = "anthropic/claude-sonnet-4.5"
QUESTION = "/support VP of Strategy at a mid-size bank, worried about switching cost"
MAY = ("view_pipelinerun", "view_texts", "run_again")


def again_url(run: PipelineRun) -> str:
    return reverse("admin:pipeline_pipelinerun_again", args=[run.pk])


def beside_url(run: PipelineRun) -> str:
    return reverse("admin:pipeline_pipelinerun_beside", args=[run.pk])


def press(client: Client, run: PipelineRun, **form: Any) -> Any:
    """Open the question and answer it with yes."""
    asked = client.get(again_url(run))
    return client.post(again_url(run), {"new_id": str(asked.context["new_id"])} | form)


def a_question(**fields: Any) -> PipelineRun:
    member = Member.objects.get_or_create(telegram_id=1, defaults={"name": "Maya"})[0]
    asked: dict[str, Any] = {"member": member, "user_message": text("worried about switching cost")}
    return a_run({"payer": "member"}, {}, **(asked | {"cost_usd": "0.0125"} | fields))


@override_settings(SECURE_SSL_REDIRECT=False, OPENROUTER_API_KEY=SHARED_KEY, DEFAULT_MODEL="a/b")
class AskingTests(TestCase):
    def setUp(self) -> None:
        self.ana = operator("ana", *MAY)

    def test_it_asks_first_with_todays_models_the_payer_and_what_it_cost(self):
        AgentModelConfig.objects.upsert("strategist", CLAUDE, "olga")

        page = self.ana.get(again_url(a_question())).content.decode()

        for words in (CLAUDE, "override v1 by olga", "a/b", "no override is set"):
            assert words in page, words
        for words in ("About $0.012 on the team key", "never uses a member", ">$0.0125<"):
            assert words in page, words
        assert not Task.objects.exists()
        assert not PipelineRun.objects.filter(source=Source.RERUN).exists()

    def test_a_yes_adds_a_task_and_a_run_of_the_same_inputs(self):
        old = a_question(image=text("aW1hZ2U="), background=text('{"knowledge_base": "ours"}'))

        answer = press(self.ana, old)

        new = PipelineRun.objects.get(source=Source.RERUN)
        assert answer.url == beside_url(new)
        assert (new.status, new.rerun_of, new.member) == (RunStatus.WAITING, old, old.member)
        for name in ("user_message_id", "background_id", "image_id"):
            assert getattr(new, name) == getattr(old, name) is not None
        assert Task.objects.get().kind == TaskKind.RERUN
        assert Task.objects.get().run == new
        assert LogEntry.objects.get().change_message == "Re-run."

    def test_pressed_twice_it_is_run_once(self):
        old, same = a_question(), str(uuid4())

        urls = {press(self.ana, old, new_id=same).url for _ in range(2)}

        assert len(urls) == Task.objects.count() == 1

    def test_an_id_that_is_none_or_another_runs_is_refused(self):
        old, other = a_question(), a_run()

        for new_id, words in (("x", "incomplete"), ("", "incomplete"), (other.pk, "another run")):
            page = press(self.ana, old, new_id=str(new_id))
            assert words in page.content.decode()
        assert not Task.objects.exists()

    def test_it_is_refused_in_plain_words_where_it_cannot_be(self):
        table: list[tuple[dict[str, Any], dict[str, Any], str]] = [
            ({"OPENROUTER_API_KEY": ""}, {}, "No team key is set"),
            ({}, {"pipeline": "of-long-ago"}, "no longer exists"),
            ({}, {"user_message": None}, "no longer stored"),
        ]
        for changed, fields, words in table:
            with self.subTest(words), override_settings(**changed):
                old = a_question(**fields)

                page = self.ana.get(again_url(old)).content.decode()
                posted = self.ana.post(again_url(old), {"new_id": str(uuid4())})

                assert words in page
                assert "<button" not in page
                assert words in posted.content.decode()
        assert not Task.objects.exists()

    def test_it_takes_both_permissions_and_the_forms_token(self):
        old = a_question()
        for number, missing in enumerate(MAY):
            client = operator(f"op{number}", *(one for one in MAY if one != missing))
            assert client.get(again_url(old)).status_code == 403
            posted = client.post(again_url(old), {"new_id": str(uuid4())})
            assert posted.status_code == 403
            assert again_url(old) not in client.get(page_of(old)).content.decode()
        assert again_url(old) in self.ana.get(page_of(old)).content.decode()
        forged = Client(enforce_csrf_checks=True)
        forged.cookies = self.ana.cookies
        assert forged.post(again_url(old), {"new_id": str(uuid4())}).status_code == 403
        assert self.ana.put(again_url(old)).status_code == 405
        assert not Task.objects.exists()

    def test_only_the_question_has_a_form_and_nothing_runs_on_any_of_the_pages(self):
        old = a_question()
        press(self.ana, old)
        new = PipelineRun.objects.get(source=Source.RERUN)

        for url, form_action in ((again_url(old), "'self'"), (beside_url(new), "'none'")):
            policy = self.ana.get(url)["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'")
            assert f"form-action {form_action}" in policy


@override_settings(SECURE_SSL_REDIRECT=False, OPENROUTER_API_KEY=SHARED_KEY)
class BesideTests(TestCase):
    def setUp(self) -> None:
        self.ana = operator("ana", *MAY)
        self.old = a_question(answer=text("The old answer."))
        self.old.steps.update(output=text("What was said then."))

    def again(self, *steps: dict[str, Any], **fields: Any) -> PipelineRun:
        told = {"output": text("What is said now.")}
        steps = tuple(told | step for step in steps or ({}, {"requested_model": CLAUDE}))
        usual: dict[str, Any] = {"rerun_of": self.old, "source": Source.RERUN, "status": "ok"}
        return a_run(*steps, **(usual | fields))

    def test_models_figures_and_texts_of_both_stand_side_by_side(self):
        page = self.ana.get(beside_url(self.again()))

        said = page.content.decode()
        for words in ("What was said then.", "What is said now.", CLAUDE, "100 in, 20 out"):
            assert words in said, words
        assert [pair.agent for pair in page.context["pairs"]] == ["extraction", "strategist"]
        assert "Refresh" not in page
        assert set(TextsRead.objects.values_list("how", flat=True)) == {"again"}
        assert TextsRead.objects.count() == 2

    def test_until_it_has_ended_the_page_renews_itself_with_figures_only(self):
        for fields in ({"status": "waiting"}, {"status": "running"}):
            page = self.ana.get(beside_url(self.again(**fields)))
            assert page["Refresh"] == "2"
            assert "What was said then." not in page.content.decode()
        still_one = self.again({}, {"status": "waiting"})
        assert "Refresh" in self.ana.get(beside_url(still_one))
        assert "Refresh" not in self.ana.get(beside_url(still_one), {"still": 1})
        assert not TextsRead.objects.exists()

    def test_it_says_when_no_worker_comes(self):
        late = self.again(hours_ago=1, status="waiting")

        assert (
            "Check that runbot or runworker is running."
            in self.ana.get(beside_url(late)).content.decode()
        )

    def test_who_may_not_read_texts_sees_the_figures(self):
        page = operator("bo", "view_pipelinerun").get(beside_url(self.again())).content.decode()

        assert CLAUDE in page
        assert "What" not in page
        assert not TextsRead.objects.exists()

    def test_a_step_that_only_one_of_them_has_is_shown(self):
        new = self.again({"agent": "trainer"})

        page = self.ana.get(beside_url(new))

        agents = [pair.agent for pair in page.context["pairs"]]
        assert agents == ["trainer", "extraction", "strategist"]
        assert page.content.decode().count("This run doesn't have this step.") == 3

    def test_what_is_no_run_again_has_no_such_page(self):
        assert self.ana.get(beside_url(self.old)).status_code == 404

    def test_the_number_of_queries_does_not_grow(self):
        counts = []
        for calls in (1, 9):
            new = self.again({"calls": calls}, {"calls": calls})
            with CaptureQueriesContext(connection) as seen:
                self.ana.get(beside_url(new))
            counts.append(len(seen))

        assert counts[0] == counts[1] <= 14


@override_settings(SECURE_SSL_REDIRECT=False)
class RunningAgainTests(BotCase):
    """With a bot at work for Maya, who pays with a key of her own."""

    async def asked_by_maya(self, chat: Chat) -> PipelineRun:
        await chat.say(MAYA, QUESTION)
        await chat.sees_text(MAYA, "Draft")
        await until_none_is_open()
        return await PipelineRun.objects.aget(source=Source.TELEGRAM)

    async def ended(self) -> PipelineRun:
        await until_none_is_open()
        return await PipelineRun.objects.select_related("answer").aget(source=Source.RERUN)

    async def maya(self) -> Member:
        member = Member(telegram_id=MAYA, name="Maya", access="approved")
        member.keep_key("openrouter", MEMBER_KEY)
        await member.asave()
        return member

    async def test_todays_models_run_it_on_the_shared_key_and_nothing_else_is_touched(self):
        member = await self.maya()
        async with self.bot() as chat:
            old = await self.asked_by_maya(chat)
            sent, facts = len(await chat.all_sent()), await Fact.objects.acount()
            await member.arefresh_from_db()
            version, before = member.memory_version, len(await chat.calls())
            await AgentModelConfig.objects.aupsert("strategist", CLAUDE, "olga")
            client = await sync_to_async(operator)("ana", *MAY)
            await sync_to_async(press)(client, old)
            new = await self.ended()
            calls = (await chat.calls())[before:]
            assert len(await chat.all_sent()) == sent
            beside = await sync_to_async(client.get)(beside_url(new))

        assert (new.status, new.pipeline) == (RunStatus.OK, "support")
        assert {(call["agent"], call["key"]) for call in calls} == {
            ("extraction", SHARED_KEY),
            ("strategist", SHARED_KEY),
            ("memory", SHARED_KEY),
        }
        steps = {step.agent: step async for step in new.steps.all()}
        assert steps["strategist"].requested_model == CLAUDE
        assert "override v1 by olga" in steps["strategist"].decision
        assert {step.payer for step in steps.values()} == {"shared"}
        assert {step.status for step in steps.values()} == {"ok"}
        assert new.answer is not None
        assert "switching cost" in new.answer.text
        await member.arefresh_from_db()
        assert member.memory_version == version
        assert await Fact.objects.acount() == facts > 0
        now = timezone.now()
        assert await sync_to_async(limits.runs_within_an_hour)(member, now=now) == 1
        costs = [call async for call in LLMCall.objects.filter(step__run=new)]
        assert new.cost_usd == sum((call.cost_usd or 0 for call in costs), Decimal(0)) > 0
        assert "side by side" not in beside.content.decode()
        assert beside.content.decode().count("Draft") >= 2

    async def test_it_is_gone_on_with_after_a_restart_and_paid_once(self):
        await self.maya()
        with running_sandbox() as base_url:
            async with self.bot_at(base_url, DRAIN_SECONDS=1) as chat:
                old = await self.asked_by_maya(chat)
                before = len(await chat.calls())
                await AgentModelConfig.objects.aupsert(
                    "strategist", "sandbox/hang", "olga", **ANYWAY
                )
                client = await sync_to_async(operator)("ana", *MAY)
                await sync_to_async(press)(client, old)
                await chat.sees_calls(lambda calls: len(calls) == before + 2)
            await AgentModelConfig.objects.aupsert("strategist", CLAUDE, "olga")
            async with self.bot_at(base_url) as chat:
                new = await self.ended()
                calls = (await chat.calls())[before:]

        assert new.status == RunStatus.OK
        assert [call["agent"] for call in calls].count("extraction") == 1
        assert new.started_at > old.started_at

    async def test_one_that_no_worker_can_end_is_given_up_and_operators_hear_of_it(self):
        old = await sync_to_async(a_question)()
        new = await PipelineRun.objects.acreate(
            pipeline="support",
            source=Source.RERUN,
            status=RunStatus.WAITING,
            rerun_of=old,
            user_message_id=old.user_message_id,
            definition=await sync_to_async(text)("no pipeline at all"),
            started_at=timezone.now(),
        )
        task = await Task.objects.acreate(kind=TaskKind.RERUN, run=new, delivery_count=4)
        self.timings = Timings(calm_s=0.01)
        async with self.bot():
            await until_none_is_open()

        await new.arefresh_from_db()
        await task.arefresh_from_db()
        assert (new.status, task.status) == (RunStatus.GIVEN_UP, TaskStatus.DEAD_LETTER)
        assert new.ended_at is not None

    async def test_whose_texts_were_erased_meanwhile_is_not_asked_again(self):
        old = await sync_to_async(a_question)()
        client = await sync_to_async(operator)("ana", *MAY)
        with override_settings(OPENROUTER_API_KEY=SHARED_KEY):
            await sync_to_async(press)(client, old)
        member = await Member.objects.aget(telegram_id=1)
        await sync_to_async(erase)(member, now=timezone.now())
        async with self.bot() as chat:
            new = await self.ended()
            assert await chat.calls() == []

        assert new.status == RunStatus.CANCELLED
        assert new.user_message_id is None

    async def test_pruned_inputs_are_not_asked_about(self):
        old = await sync_to_async(a_question)()
        client = await sync_to_async(operator)("ana", *MAY)
        with override_settings(OPENROUTER_API_KEY=SHARED_KEY):
            await sync_to_async(press)(client, old)
        await PipelineRun.objects.aupdate(user_message=None)
        async with self.bot() as chat:
            new = await self.ended()
            assert await chat.calls() == []

        assert new.status == RunStatus.CANCELLED


@pytest.mark.postgresql
@override_settings(QUEUE="procrastinate")
class RunningAgainOnManyMachinesTests(RunningAgainTests):
    """The same, with intake and worker apart."""

    @asynccontextmanager
    async def bot_at(self, base_url: str, **settings: Any) -> AsyncIterator[Chat]:
        stopping = asyncio.Event()
        with override_settings(**environment(base_url) | settings):
            working = asyncio.create_task(work(stopping))
            try:
                async with super().bot_at(base_url, **settings) as chat:
                    yield chat
            finally:
                stopping.set()
                await asyncio.wait_for(working, PATIENCE_S)
