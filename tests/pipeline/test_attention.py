"""What needs attention: seen on the first page, told to the operators once an event."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import timedelta
from typing import Any
from uuid import uuid4

from asgiref.sync import async_to_sync
from django.test import SimpleTestCase, TestCase, override_settings
from django.utils import timezone

from agents import credit
from agents.llm.causes import UNFIT
from agents.llm.http import close_clients
from agents.llm.keys import PlainKey
from agents.models import AgentModelConfig, CatalogModel, ResolverProcess
from pipeline.models import (
    AlertNotification,
    CasebookEntry,
    LLMCall,
    Member,
    PeriodicJob,
    PipelineRun,
    StepRun,
    Task,
    TelegramUpdate,
)
from pipeline.models.inbox import Buttons, TaskKind, TaskStatus
from pipeline.models.members import Access
from pipeline.models.runs import UNFIT_CAUSES, StepStatus
from pipeline.operations import attention, periodic_jobs
from tests.made_up_agents import ANYWAY
from tests.pipeline.recorded import a_run
from tests.sandbox.serving import running_sandbox


def keys() -> set[str]:
    return {alert.key.split()[0] for alert in attention.alerts(timezone.now())}


def process(**fields) -> ResolverProcess:
    given = {"role": "bot", "host": "here", "pid": 7, "version": "v1·abcd"}
    return ResolverProcess.objects.create(
        process_id=uuid4(), seen_at=timezone.now(), **(given | fields)
    )


def given_up() -> Task:
    update = TelegramUpdate.objects.create(bot_id=1, update_id=1, raw="{}")
    return Task.objects.create(kind=TaskKind.MESSAGE, update=update, status=TaskStatus.DEAD_LETTER)


@override_settings(OPENROUTER_API_KEY="sk-or-v1-not-a-key-0001")
class ConcernTest(TestCase):
    def test_a_healthy_installation_has_none(self):
        process()

        assert keys() == set()

    def test_each_thing_that_needs_a_hand_is_named(self):
        process(is_stale=True)
        given_up()
        waiting = Member.objects.create(telegram_id=1, access=Access.WAITING)
        CasebookEntry.objects.create(title="A bank", text="Fears", member=waiting)
        CasebookEntry.objects.create(title="Approved", text="Fears", is_approved=True)

        assert keys() == {"stale", "dead", "waiting", "cases"}

    def test_without_a_process_nobody_answers(self):
        assert keys() == {"no-process"}

    def test_a_run_from_the_shell_is_no_process_that_answers(self):
        process(role="shell")

        assert keys() == {"no-process"}

    @override_settings(OPENROUTER_API_KEY=None)
    def test_without_a_shared_key_overrides_are_without_effect(self):
        process()

        assert keys() == {"no-shared-key"}

    def test_little_credit_is_told_before_it_is_gone(self):
        process()
        PeriodicJob.objects.create(
            name=attention.CREDIT, due_at=timezone.now(), last_result={"remaining_usd": "0.40"}
        )

        found = attention.alerts(timezone.now())

        assert "has $0.40 left" in found[0].text


@override_settings(OPENROUTER_API_KEY="sk-or-v1-not-a-key-0001")
class RetiringTest(TestCase):
    def setUp(self):
        process()
        self.now = timezone.now()
        for model_id, expires_on in (
            ("openai/gpt-5-mini", None),
            ("openai/gpt-4-old", self.now.date() + timedelta(days=6)),
        ):
            CatalogModel.objects.create(
                model_id=model_id,
                name=model_id,
                expires_on=expires_on,
                input_modalities=["text", "image"],
                output_modalities=["text"],
                supported_parameters=["response_format", "structured_outputs"],
                first_seen_at=self.now,
                last_seen_at=self.now,
            )

    def test_a_model_in_use_that_retires_is_told_with_a_successor(self):
        AgentModelConfig.objects.upsert("trainer", "openai/gpt-4-old", "ada")

        (alert,) = attention.alerts(self.now)

        assert "openai/gpt-4-old" in alert.text
        assert "Used by trainer" in alert.text
        assert "Possible replacement: openai/gpt-5-mini" in alert.text
        assert alert.is_for_chat

    def test_a_members_own_model_counts_too(self):
        Member.objects.create(
            telegram_id=1, access=Access.APPROVED, provider="openrouter", model_id="gone/model"
        )

        (alert,) = attention.alerts(self.now)

        assert "gone/model" in alert.text

    def test_a_model_that_nobody_uses_may_retire_in_peace(self):
        assert attention.alerts(self.now) == []


@override_settings(OPENROUTER_API_KEY="sk-or-v1-not-a-key-0001")
class UnfitTest(TestCase):
    """An override whose model cannot do what its agent needs, by the list or by its refusals."""

    def setUp(self):
        process()
        self.now = timezone.now()

    def listed(self, model_id: str, **fields) -> None:
        given = {
            "name": model_id,
            "input_modalities": ["text", "image"],
            "output_modalities": ["text"],
            "supported_parameters": ["response_format", "structured_outputs"],
            "max_completion_tokens": 8_000,
            "first_seen_at": self.now,
            "last_seen_at": self.now,
        }
        CatalogModel.objects.create(model_id=model_id, **(given | fields))

    def refused(self, agent: str, model_id: str, cause: str, **step) -> None:
        run = PipelineRun.objects.create(pipeline="p", source="shell", started_at=self.now)
        step_run = StepRun.objects.create(
            run=run,
            position=0,
            agent=agent,
            mode="sequential",
            started_at=self.now,
            **({"status": StepStatus.FAILED} | step),
        )
        LLMCall.objects.create(
            step=step_run,
            number=1,
            provider="openrouter",
            requested_model=model_id,
            payer="shared",
            key_fingerprint="ab",
            cause=cause,
            status="error",
            started_at=self.now,
        )

    def test_the_index_is_over_the_causes_that_are_looked_for(self):
        assert set(UNFIT_CAUSES) == set(UNFIT)

    def unfit(self) -> list[str]:
        found = attention.alerts(self.now)
        return [alert.text for alert in found if alert.key.startswith("unfit ")]

    def test_what_the_list_says_that_a_model_cannot_is_told_at_once(self):
        self.listed("a/blind", input_modalities=["text"])
        self.listed("a/short", max_completion_tokens=500)
        self.listed("a/fit")
        for agent, model_id in (
            ("extraction", "a/blind"),
            ("strategist", "a/short"),
            ("trainer", "a/fit"),
        ):
            AgentModelConfig.objects.upsert(agent, model_id, "ada", **ANYWAY)

        blind, short = sorted(self.unfit())
        assert "a/blind isn't suitable for extraction" in blind
        assert "can't read pictures" in blind
        assert "at most 500 output tokens (800 needed)" in short

    def test_what_providers_refused_counts_for_a_model_that_is_not_listed(self):
        AgentModelConfig.objects.upsert("extraction", "a/new", "ada")
        AgentModelConfig.objects.upsert("trainer", "a/new", "ada")
        self.refused("extraction", "a/new", "picture")
        self.refused("extraction", "a/new", "length")
        self.refused("memory", "a/new", "schema")

        (text,) = self.unfit()
        assert "a/new isn't suitable for extraction" in text
        assert "no picture support" in text

    def test_what_a_server_of_the_teams_own_refused_counts_and_the_catalog_does_not(self):
        self.listed("a/blind", input_modalities=["text"])
        self.refused("trainer", "llama3.2:1b", "limit")

        with override_settings(SHARED_SERVER="compatible"):
            AgentModelConfig.objects.upsert("extraction", "a/blind", "ada", **ANYWAY)
            AgentModelConfig.objects.upsert("trainer", "llama3.2:1b", "ada")
            (text,) = self.unfit()

        assert "llama3.2:1b isn't suitable for trainer" in text

    def test_a_limit_counts_only_where_the_step_failed_of_it(self):
        AgentModelConfig.objects.upsert("trainer", "a/new", "ada")
        self.refused("trainer", "a/new", "limit", status=StepStatus.OK)
        assert self.unfit() == []

        self.refused("trainer", "a/new", "limit")
        assert len(self.unfit()) == 1

    def test_yesterdays_and_another_models_refusals_are_over(self):
        AgentModelConfig.objects.upsert("trainer", "a/new", "ada")
        self.refused("trainer", "a/old", "schema")
        self.refused("trainer", "a/new", "schema")
        LLMCall.objects.filter(requested_model="a/new").update(
            started_at=self.now - timedelta(hours=25)
        )

        assert self.unfit() == []

    def test_it_is_sent_to_the_operators_once(self):
        self.listed("a/blind", input_modalities=["text"])
        AgentModelConfig.objects.upsert("extraction", "a/blind", "ada", **ANYWAY)

        alerts = [one for one in attention.alerts(self.now) if one.key.startswith("unfit")]
        (alert,) = attention.unsent(alerts)
        attention.mark_sent(alert)
        assert attention.unsent(alerts) == []


class UnsentTest(TestCase):
    def test_an_alert_is_sent_once_for_as_long_as_it_lasts(self):
        stale = process(is_stale=True)

        (alert,) = attention.unsent(attention.alerts(timezone.now()))
        attention.mark_sent(alert)
        assert attention.unsent(attention.alerts(timezone.now())) == []

        ResolverProcess.objects.update(is_stale=False)
        assert attention.unsent(attention.alerts(timezone.now())) == []
        assert not AlertNotification.objects.exists()
        ResolverProcess.objects.filter(pk=stale.pk).update(is_stale=True)
        assert len(attention.unsent(attention.alerts(timezone.now()))) == 1

    def test_what_was_sent_when_it_happened_is_not_sent_again(self):
        process()
        given_up()

        assert attention.unsent(attention.alerts(timezone.now())) == []


class PeriodicJobTest(TestCase):
    def setUp(self):
        self.now = timezone.now()
        self.times = 0

    async def count(self, now, tell):
        self.times += 1
        return {"times": self.times}

    def look(self, seconds: float) -> None:
        spec = periodic_jobs.JobSpec("count", timedelta(minutes=1), self.count)
        async_to_sync(periodic_jobs.run_if_due)(spec, self.now + timedelta(seconds=seconds), told)

    def test_a_job_runs_when_it_is_due_and_by_one_process_only(self):
        for seconds in (0, 0, 30, 59):
            self.look(seconds)
        assert self.times == 1

        self.look(61)

        assert self.times == 2
        assert PeriodicJob.objects.get(name="count").last_result == {"times": 2}

    def test_a_clock_that_is_set_back_a_day_delays_nothing(self):
        self.look(0)
        self.look(-24 * 3600)

        assert self.times == 2


class AlertsJobTest(TestCase):
    def test_what_did_not_reach_the_operators_is_sent_again_until_it_does(self):
        (spec,) = (spec for spec in periodic_jobs.JOBS if spec.name == "concerns")
        process(is_stale=True)
        now, texts = timezone.now(), []
        arrives = [False, False, True]

        async def tell(text: str, buttons: Buttons = (), *, is_news: bool = False) -> bool:
            texts.append(text)
            return arrives[len(texts) - 1]

        for turn in range(5):
            async_to_sync(periodic_jobs.run_if_due)(spec, now + turn * spec.every, tell)

        assert len(texts) == 3
        assert len(set(texts)) == 1


class CatalogJobTest(TestCase):
    """The catalogue is synced daily, by whichever process finds it due."""

    def test_it_is_taken_in_once_a_day_and_tried_again_after_an_hour(self):
        (spec,) = (spec for spec in periodic_jobs.JOBS if spec.name == attention.CATALOGUE)
        now = timezone.now()

        def look(hours: float) -> dict[str, str]:
            at = now + timedelta(hours=hours)
            async_to_sync(_closing)(periodic_jobs.run_if_due(spec, at, told))
            found: dict[str, str] = PeriodicJob.objects.get(name=spec.name).last_result
            return found

        with override_settings(OPENROUTER_BASE_URL="http://127.0.0.1:9/api/v1"):
            assert look(0)["problem"]
        with (
            running_sandbox() as root,
            override_settings(OPENROUTER_BASE_URL=f"{root}/openrouter/api/v1"),
        ):
            assert "problem" not in look(1.1)
            assert CatalogModel.objects.count() > 5
            CatalogModel.objects.all().delete()
            look(3)
            assert not CatalogModel.objects.exists()
            look(26)
            assert CatalogModel.objects.exists()


async def told(text: str, buttons: Buttons = (), *, is_news: bool = False) -> bool:
    return True


async def _closing(work: Awaitable[None]) -> None:
    try:
        await work
    finally:
        await close_clients()


class CreditTest(SimpleTestCase):
    """What OpenRouter says is left on the key, over real HTTP."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        root = cls.enterClassContext(running_sandbox())
        base_url = f"{root}/openrouter/api/v1"
        cls.enterClassContext(override_settings(OPENROUTER_BASE_URL=base_url))

    @async_to_sync
    async def ask(self, key: str) -> credit.Credit:
        try:
            return await credit.ask(PlainKey(key))
        finally:
            await close_clients()

    def test_what_is_left_is_read(self):
        assert self.ask("sk-or-v1-sandbox-team-key-0001").remaining_usd == 100
        assert self.ask("sk-or-v1-sandbox-nocredit-key").remaining_usd == 0

    def test_a_refused_key_is_a_problem_and_not_an_empty_one(self):
        heard = self.ask("sk-or-v1-sandbox-revoked-0001")

        assert heard.remaining_usd is None
        assert heard.problem == "OpenRouter rejects the key"

    @override_settings(OPENROUTER_BASE_URL="http://127.0.0.1:9/api/v1")
    def test_no_answer_is_a_problem(self):
        assert "isn't responding" in self.ask("sk-or-v1-sandbox-team-key-0001").problem


class FailingSinceAChangeTest(TestCase):
    """An agent that fails within ten minutes of a change, and did not before."""

    def setUp(self) -> None:
        for _ in range(3):
            a_run({"agent": "strategist"}, hours_ago=0.1)
        self.row = AgentModelConfig.objects.upsert("strategist", "openai/gpt-99", "ada")

    def failing(self, minutes: int = 0) -> list[str]:
        found = attention.alerts(timezone.now() + timedelta(minutes=minutes))
        return [alert.text for alert in found if alert.key.startswith("failing ")]

    def ran(self, **fields: Any) -> None:
        version = {"override_version": self.row.version}
        a_run({"agent": "strategist"} | version | fields, source=fields.pop("source", "telegram"))

    def test_the_first_failure_is_told_with_the_change_that_can_be_undone(self):
        self.ran()
        assert self.failing() == []

        self.ran(status="failed")

        (text,) = self.failing()
        assert text.startswith("strategist fails since v1: 1 of 2 steps on openai/gpt-99, set by")
        assert "You can undo this change." in text

    def test_a_step_that_was_answered_by_the_fallback_has_failed_too(self):
        self.ran(fell_back_to="openai/gpt-5-mini")

        assert len(self.failing()) == 1

    def test_it_is_over_after_ten_minutes_and_after_another_change(self):
        self.ran(status="failed")
        assert self.failing(minutes=11) == []

        AgentModelConfig.objects.upsert("strategist", "openai/gpt-5-mini", "ada")

        assert self.failing() == []

    def test_an_agent_that_failed_before_is_not_told_of(self):
        a_run({"agent": "strategist", "status": "failed"}, hours_ago=0.05)
        self.ran(status="failed")

        assert self.failing() == []

    def test_a_trial_that_fails_is_no_failure_of_the_agent(self):
        run = a_run(source="trial")
        StepRun.objects.filter(run=run).update(
            agent="strategist", status="failed", override_version=self.row.version
        )

        assert self.failing() == []


class ChangesTest(TestCase):
    """Every change of the overrides is told to the operators' chat, once."""

    def setUp(self) -> None:
        AgentModelConfig.objects.upsert("trainer", "openai/gpt-4.1", "pete")
        self.at = timezone.now()
        self.told: list[str] = []
        self.buttons: Buttons = ()
        self.arrives = True
        assert self.tell() == []  # what was there before is no news

    def tell(self) -> list[str]:
        (spec,) = (one for one in periodic_jobs.JOBS if one.name == PeriodicJob.CHANGES)

        async def send(text: str, buttons: Buttons = (), *, is_news: bool = False) -> bool:
            if self.arrives:
                self.told.append(text)
                self.buttons = buttons
            return self.arrives

        self.at += timedelta(seconds=1)
        PeriodicJob.hasten(PeriodicJob.CHANGES)
        async_to_sync(periodic_jobs.run_if_due)(spec, self.at, send)
        told, self.told = self.told, []
        return told

    def test_old_and_new_who_and_why(self):
        AgentModelConfig.objects.upsert("trainer", "z-ai/glm-4.6", "ada", reason="Cheaper")

        (text,) = self.tell()
        change = "trainer: openai/gpt-4.1 → z-ai/glm-4.6 (v2 by ada: Cheaper)"
        assert text.splitlines()[0] == f"Model changed. {change}"
        assert "press the button within a day" in text
        assert self.buttons == [[("Undo trainer v2", "undo:2:trainer")]]
        assert self.tell() == []

    def test_several_changes_are_one_message_in_their_order(self):
        AgentModelConfig.objects.upsert("strategist", "z-ai/glm-4.6", "ada")
        AgentModelConfig.objects.deactivate_all("pete", reason="The key is out of credit")

        (text,) = self.tell()
        assert text.splitlines()[:4] == [
            "Models changed.",
            "strategist: the default model → z-ai/glm-4.6 (v2 by ada)",
            "strategist: z-ai/glm-4.6 → the default model (v3 by pete: The key is out of credit)",
            "trainer: openai/gpt-4.1 → the default model (v3 by pete: The key is out of credit)",
        ]

    def test_the_last_change_of_each_agent_has_a_button(self):
        AgentModelConfig.objects.upsert("strategist", "z-ai/glm-4.6", "ada")
        AgentModelConfig.objects.deactivate_all("pete")
        self.tell()

        labels = [[label for label, _ in row] for row in self.buttons]
        assert labels == [["Undo strategist v3"], ["Undo trainer v3"]]

    def test_what_did_not_arrive_is_told_the_next_time(self):
        AgentModelConfig.objects.upsert("trainer", "z-ai/glm-4.6", "ada")
        self.arrives = False
        assert self.tell() == []

        self.arrives = True
        assert len(self.tell()) == 1

    def test_of_very_many_changes_the_latest_are_told(self):
        for number in range(30):
            AgentModelConfig.objects.upsert("trainer", f"openai/gpt-{number}", "ada")

        (text,) = self.tell()
        assert "openai/gpt-29" in text
        assert len(text.splitlines()) == 22
