"""Try it: the agent gets what it gets in a run, on a model to try beside the model of today."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from agents.models import AgentModelConfig
from pipeline.models import (
    CasebookEntry,
    Exercise,
    LLMCall,
    Member,
    PipelineRun,
    PlaybookPage,
    StepRun,
    TextBlob,
    TextsRead,
)
from pipeline.models.access_log import AccessKind
from pipeline.models.runs import Source
from pipeline.people import erasure
from pipeline.running import trials
from pipeline.running.trials import SAMPLE
from tests.agents.doubles import choose_model
from tests.pipeline.cases import FALLBACK_MODEL
from tests.pipeline.test_runpipeline import PNG, RunPipelineCase, member

SECRET_WORDS = "Their CFO told me in confidence that they are out of money."
MODEL, OTHER = "openai/gpt-4.1", "anthropic/claude-sonnet-4.5"


def an_operator(*codenames: str) -> User:
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


@override_settings(SECURE_SSL_REDIRECT=False, SHARED_KEY_FOR_MEMBERS=True)
class TrialCase(RunPipelineCase):
    def setUp(self) -> None:
        super().setUp()
        PlaybookPage.objects.create(title="Prices", text="Never give a discount first.")
        self.client = Client()
        self.client.force_login(User.objects.create_superuser("ada", password="pw"))

    def recorded(self, pipeline: str = "support", agent: str = "strategist", *more: str) -> StepRun:
        """Have a member's message answered, and return the agent's step."""
        if not Member.objects.exists():
            member("Dana", 7)
        self.printed(pipeline, SECRET_WORDS, "--as", "Dana", *more)
        return StepRun.objects.select_related("run").filter(agent=agent).latest("started_at")

    def try_out(self, agent: str, given: str, model_id: str = MODEL, **form: str) -> str:
        """Press "Try it", and return the text of the result."""
        wanted = {"agent_name": agent, "model_id": model_id, "given": given, **form}
        response = self.client.post(reverse("try"), wanted, follow=True)
        assert response.status_code == 200
        return unescape(re.sub(r"<[^>]*>", " ", response.content.decode()))

    def calls_of(self, *steps: StepRun) -> list[LLMCall]:
        calls = LLMCall.objects.filter(step__in=steps).order_by("started_at")
        return list(calls.select_related("system_prompt", "user_message"))

    def tried(self, agent: str = "strategist", model_id: str = MODEL) -> StepRun:
        steps = StepRun.objects.select_related("run").filter(run__source=Source.TRIAL, agent=agent)
        return steps.get(requested_model=model_id)


class RecordedStepTests(TrialCase):
    def prompts(self, step: StepRun) -> list[Any]:
        return [
            (call.system_prompt_id, call.user_message_id, call.has_image)
            for call in self.calls_of(step)
        ]

    def test_the_agent_gets_to_the_byte_what_it_got_in_the_run(self):
        for pipeline, agent in (
            ("support", "strategist"),
            ("learn", "trainer"),
            ("train", "trainer"),
        ):
            with self.subTest(f"{agent} in {pipeline}"):
                PipelineRun.objects.filter(source=Source.TRIAL).delete()
                step = self.recorded(pipeline, agent)
                PlaybookPage.objects.create(title=f"New {pipeline}", text="Written later.")

                self.try_out(agent, f"recorded:{step.pk}")

                assert self.prompts(self.tried(agent)) == self.prompts(step)

    def test_it_gets_the_picture_too(self):
        picture = self.folder / "picture.png"
        picture.write_bytes(PNG)
        step = self.recorded("support_photo", "extraction", "--image", str(picture))

        self.try_out("extraction", f"recorded:{step.pk}")

        assert self.prompts(self.tried("extraction")) == self.prompts(step)
        assert [has_image for _, _, has_image in self.prompts(step)] == [True]

    def test_the_step_itself_stands_beside_it_if_it_ran_on_todays_model(self):
        step = self.recorded()
        before = len(self.wire.calls())

        page = self.try_out("strategist", f"recorded:{step.pk}")

        assert len(self.wire.calls()) == before + 1
        assert f"Model in use: {FALLBACK_MODEL}" in page
        assert "recorded on" in page
        assert f"Model tried: {MODEL}" in page

    def test_else_todays_model_is_asked_as_well(self):
        step = self.recorded()
        choose_model("strategist", OTHER)
        before = len(self.wire.calls())

        page = self.try_out("strategist", f"recorded:{step.pk}")

        new = self.wire.calls()[before:]
        assert sorted(call.model for call in new) == sorted([OTHER, MODEL])
        assert f"Model in use: {OTHER}" in page
        assert "recorded on" not in page

    def test_it_is_a_trial_paid_by_the_team_that_changes_nothing(self):
        step = self.recorded()
        memory = Member.objects.values_list("memory_version", flat=True).get()

        self.try_out("strategist", f"recorded:{step.pk}")

        tried = self.tried()
        assert (tried.payer, tried.run.started_by, tried.run.member) == (
            "shared",
            "ada",
            step.run.member,
        )
        assert tried.decision == (
            f"ran {MODEL} because ada tried it out on a step of run {step.run}; shared key"
        )
        assert Member.objects.values_list("memory_version", flat=True).get() == memory
        assert not AgentModelConfig.objects.exists()
        assert not Exercise.objects.exists()
        entry = LogEntry.objects.get()
        assert (entry.object_id, entry.change_message) == (
            str(tried.run.pk),
            f"Tried {MODEL} for strategist.",
        )

    def test_whose_texts_were_given_and_shown_is_in_the_access_log(self):
        step = self.recorded()

        self.try_out("strategist", f"recorded:{step.pk}")

        log = TextsRead.objects.order_by("pk").values_list("operator_name", "run", "how")
        assert set(log) == {
            ("ada", step.run_id, AccessKind.TRIAL),
            ("ada", step.run_id, AccessKind.PAGE),
            ("ada", self.tried().run_id, AccessKind.PAGE),
        }

    def test_who_may_not_read_texts_can_neither_give_them_nor_read_the_result(self):
        step = self.recorded()
        self.try_out("strategist", f"recorded:{step.pk}")
        result = {"live": str(step.pk), "tried": str(self.tried().pk)}
        page = reverse("admin:pipeline_pipelinerun_change", args=[self.tried().run_id])
        self.client.force_login(an_operator("change_agentmodelconfig", "view_pipelinerun"))

        wanted = {"agent_name": "strategist", "model_id": OTHER, "given": f"recorded:{step.pk}"}
        assert self.client.post(reverse("try"), wanted).status_code == 403
        assert self.client.get(reverse("tried"), result).status_code == 403
        assert "Their CFO" not in self.client.get(page).content.decode()
        offered = self.client.get(reverse("inputs"), {"agent_name": "strategist"}).content.decode()
        assert "recorded:" not in offered
        assert "sample:support" in offered
        assert StepRun.objects.filter(requested_model=OTHER).count() == 0

    def test_the_members_erasure_includes_the_trial(self):
        step = self.recorded()
        self.try_out("strategist", f"recorded:{step.pk}")
        tried = self.tried()

        erasure.erase(Member.objects.get(), now=timezone.now())

        tried.run.refresh_from_db()
        tried.refresh_from_db()
        assert (tried.run.user_message, tried.inputs, tried.reply) == (None, None, None)
        [call] = self.calls_of(tried)
        assert (call.user_message, call.output) == (None, None)

    def test_an_erasure_that_comes_first_leaves_nothing_to_write_anew(self):
        step = self.recorded()
        given = trials.recorded_input(step.pk, "strategist")
        erasure.erase(Member.objects.get(), now=timezone.now())

        with pytest.raises(trials.TrialRefused, match="erased their data"):
            trials.compare(MODEL, given, "ada")

        assert not TextBlob.objects.filter(text__contains=SECRET_WORDS).exists()
        assert not PipelineRun.objects.filter(source=Source.TRIAL).exists()

    def test_a_step_whose_inputs_are_gone_says_so_and_costs_nothing(self):
        step = self.recorded()
        erasure.erase(Member.objects.get(), now=timezone.now())
        before = len(self.wire.calls())

        for given in (f"recorded:{step.pk}", f"recorded:{step.run_id}"):
            assert "no longer stored" in self.try_out("strategist", given)
        assert "choose what to give the agent" in self.try_out("strategist", "recorded:1")
        assert len(self.wire.calls()) == before

    def test_the_latest_answered_steps_of_members_are_offered(self):
        step = self.recorded()
        self.try_out("strategist", f"recorded:{step.pk}")
        StepRun.objects.filter(pk=self.recorded().pk).update(status="failed")

        page = self.client.get(reverse("inputs"), {"agent_name": "strategist"}).content.decode()

        assert re.findall(r"recorded:([\w-]+)", page) == [str(step.pk)]
        assert "tokens in" in page


class SampleTests(TrialCase):
    def test_it_gets_todays_playbook_and_the_cases_that_no_member_saved(self):
        dana = member("Dana", 7)
        CasebookEntry.objects.create(title="Bank", text="A case for all.", is_approved=True)
        CasebookEntry.objects.create(title="New", text="Not read yet.", is_approved=False)
        CasebookEntry.objects.create(
            title="Hers", text="What Dana wrote.", is_approved=True, member=dana
        )

        self.try_out("strategist", "sample:support", sample="The CFO is silent.")

        [call] = self.calls_of(self.tried())
        assert call.user_message is not None
        text = call.user_message.text
        for part in ("The CFO is silent.", "Never give a discount first.", "A case for all."):
            assert part in text
        assert "Not read yet." not in text
        assert "What Dana wrote." not in text
        assert "<profile>" in text

    def test_what_it_needs_of_another_agent_is_asked_once_and_given_to_both(self):
        before = len(self.wire.calls())

        self.try_out("strategist", "sample:support")

        assert len(self.wire.calls()) == before + 3
        live, tried = self.tried(model_id=FALLBACK_MODEL), self.tried()
        assert self.calls_of(live)[0].user_message_id == self.calls_of(tried)[0].user_message_id

    def test_the_trainer_gets_the_task_of_the_pipeline(self):
        self.try_out("trainer", "sample:train")

        [call] = self.calls_of(self.tried("trainer"))
        assert call.system_prompt is not None
        assert "Judge the member's answer to the scenario." in call.system_prompt.text
        assert call.user_message is not None
        assert SAMPLE in call.user_message.text

    def test_a_step_that_reads_pictures_gets_one(self):
        self.try_out("extraction", "sample:support_photo")

        assert [call.has_image for call in self.calls_of(self.tried("extraction"))] == [True]

    def test_every_agent_can_be_tried_in_every_pipeline_that_uses_it(self):
        for agent in ("extraction", "strategist", "trainer", "memory"):
            page = self.client.get(reverse("inputs"), {"agent_name": agent}).content.decode()
            for pipeline in re.findall(r"sample:(\w+)", page):
                with self.subTest(f"{agent} in {pipeline}"):
                    StepRun.objects.all().delete()
                    self.try_out(agent, f"sample:{pipeline}")
                    assert self.tried(agent).status == "ok"

    def test_the_operator_who_may_read_no_members_texts_reads_the_result(self):
        self.client.force_login(an_operator("change_agentmodelconfig", "view_pipelinerun"))

        page = self.try_out("trainer", "sample:learn")
        run = self.client.get(
            reverse("admin:pipeline_pipelinerun_change", args=[self.tried("trainer").run_id])
        )

        assert f"Model tried: {MODEL}" in page
        assert "Answer</h2>" in run.content.decode()

    def test_who_sees_figures_only_reads_no_trial(self):
        self.try_out("trainer", "sample:learn", sample="What the member wrote")
        tried = self.tried("trainer")
        self.client.force_login(an_operator("view_agentmodelconfig", "view_pipelinerun"))

        page = self.client.get(
            reverse("admin:pipeline_pipelinerun_change", args=[tried.run_id])
        ).content.decode()

        assert "What the member wrote" not in page
        result = {"live": str(tried.pk), "tried": str(tried.pk)}
        assert self.client.get(reverse("tried"), result).status_code == 403


class RefusedTests(TrialCase):
    def test_what_cannot_be_tried_says_why_and_costs_nothing(self):
        for form, why in (
            ({"agent": "trainer", "given": "sample:learn", "model_id": "no-slash"}, "Enter an"),
            ({"agent": "", "given": "sample:learn"}, "choose an agent first"),
            ({"agent": "trainer", "given": ""}, "choose what to give the agent"),
            ({"agent": "trainer", "given": "sample:support"}, "has no step in this pipeline"),
        ):
            with self.subTest(why):
                assert why in self.try_out(**form)
        with override_settings(OPENROUTER_API_KEY=""):
            assert "no team key is set" in self.try_out("trainer", "sample:learn")
        assert not PipelineRun.objects.exists()

    def test_a_nul_in_any_field_breaks_nothing(self):
        assert f"Model tried: {MODEL}" in self.try_out("trainer", "sample:learn", sample="a\x00b")
        for given in ("sample:learn\x00", "recorded:\x00", "\x00"):
            assert "choose what to give the agent" in self.try_out("trainer", given)

    def test_a_model_that_fails_is_shown_with_its_error(self):
        page = self.try_out("trainer", "sample:learn", "sandbox/no-credit")

        assert "Model tried: sandbox/no-credit" in page
        assert "NoCredit" in page

    def test_an_agent_whose_result_is_needed_and_fails_ends_the_trial(self):
        choose_model("extraction", "sandbox/no-credit")

        assert "extraction, whose result is needed, failed" in self.try_out(
            "strategist", "sample:support"
        )

    def test_the_result_may_stand_in_a_frame_of_this_site_and_runs_no_script(self):
        self.try_out("trainer", "sample:learn")
        pk = str(self.tried("trainer").pk)

        response = self.client.get(reverse("tried"), {"live": pk, "tried": pk})

        assert response["X-Frame-Options"] == "SAMEORIGIN"
        policy = response["Content-Security-Policy"]
        assert "frame-ancestors 'self'" in policy
        assert "default-src 'none'" in policy

    def test_a_result_of_no_step_is_not_found(self):
        for said in ("", "1", "00000000-0000-4000-8000-000000000000"):
            result = {"live": said, "tried": said}
            assert self.client.get(reverse("tried"), result).status_code == 404
