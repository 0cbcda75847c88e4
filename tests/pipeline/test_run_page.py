"""The page of a run: timeline, reasons, links, and who has read its texts."""

from __future__ import annotations

from unittest.mock import patch

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, TestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from agents.models import AgentModelConfig
from pipeline.models import Member, PipelineRun, Task, TextsRead
from pipeline.models.inbox import TaskKind
from tests.pipeline.recorded import a_call, a_run, a_step, text
from tests.pipeline.test_admin import operator, page_of, run_with_texts

ACCESS_LOG = reverse("admin:pipeline_textsread_changelist")


def boss() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


@override_settings(SECURE_SSL_REDIRECT=False)
class RunPageTests(TestCase):
    def page(self, run: PipelineRun, *permissions: str) -> str:
        client = operator(f"ana{User.objects.count()}", "view_pipelinerun", *permissions)
        return str(client.get(page_of(run)).content.decode())

    def test_each_bar_leads_to_its_step_and_says_in_words_what_it_shows(self):
        run = a_run({}, {"status": "failed"})

        page = self.page(run)

        for target in ("step-1-1", "step-2-1"):
            assert f'href="#{target}"' in page
            assert f'id="{target}"' in page
        assert page.count("<rect") == 4
        for words in ("1,000 ms", "from 1 s on", "Failed"):
            assert words in page, words
        assert " style=" not in page

    def test_who_ran_the_model_behind_a_gateway_is_shown_as_text(self):
        step = a_step(a_run({"calls": 0}), 1, calls=0)
        a_call(step, upstream="<b>DeepInfra")

        assert "<dt>Upstream</dt><dd>&lt;b&gt;DeepInfra</dd>" in self.page(step.run)

    def test_a_call_that_was_cut_off_says_so_and_names_the_cause(self):
        step = a_step(a_run({"calls": 0}), 1, calls=0)
        a_call(step, is_cut=True, cause="cut")

        page = self.page(step.run)

        assert ">Cut off</span>" in page
        assert "<dt>Cause</dt><dd>cut</dd>" in page

    def test_the_number_of_queries_does_not_grow_with_steps_and_calls(self):
        client = operator("ana", "view_pipelinerun", "view_texts")
        counts = []
        for calls in (1, 20):
            run = a_run()
            for position in (1, 2):
                step = a_step(run, position, calls=0)
                for number in range(calls):
                    a_call(step, number, output=text(f"{calls} {number}"))
            with CaptureQueriesContext(connection) as seen:
                client.get(page_of(run))
            counts.append(len(seen))

        assert counts[0] == counts[1] <= 12

    def test_an_override_leads_to_its_history_for_who_may_see_it(self):
        AgentModelConfig.objects.upsert("strategist", "anthropic/claude-sonnet-4.5", "olga")
        run = a_run({}, {"override_version": 1})
        link = reverse("admin:agents_agentmodelconfig_history_of") + "?agent_name=strategist"

        assert link not in self.page(run)
        assert link in self.page(run, "view_agentmodelconfig")
        sees = operator("olga", "view_agentmodelconfig")
        assert "History of strategist" in sees.get(link, follow=True).content.decode()
        assert operator("cy").get(link).status_code == 403
        assert sees.get(link.replace("strategist", "nobody")).status_code == 404

    def test_a_member_leads_to_their_page_and_their_runs(self):
        maya = Member.objects.create(telegram_id=1001, name="Maya")
        run = a_run(member=maya)
        link = reverse("admin:pipeline_member_change", args=[maya.pk])

        assert link not in self.page(run)
        assert link in self.page(run, "view_member")
        assert "?member=1001" in self.page(run)

    def test_what_was_run_again_and_what_came_of_it_lead_to_one_another(self):
        old = a_run()
        new = a_run(rerun_of=old, source="again")
        beside = reverse("admin:pipeline_pipelinerun_beside", args=[new.pk])

        assert beside in self.page(old)
        assert beside in self.page(new)
        assert page_of(old) in self.page(new)


@override_settings(SECURE_SSL_REDIRECT=False)
class ReadingTests(TestCase):
    def test_every_view_of_texts_is_written_down(self):
        run = run_with_texts()
        ana = operator("ana", "view_pipelinerun", "view_texts")

        ana.get(page_of(run))
        ana.get(page_of(run))

        rows = list(TextsRead.objects.values_list("operator_name", "run", "how"))
        assert rows == [("ana", run.pk, "page")] * 2

    def test_who_sees_figures_only_has_read_nothing(self):
        operator("bo", "view_pipelinerun").get(page_of(run_with_texts()))

        assert not TextsRead.objects.exists()

    def test_a_task_is_written_down_as_well(self):
        run = run_with_texts()
        task = Task.objects.create(kind=TaskKind.STEP, step=run.steps.get())
        url = reverse("admin:pipeline_task_change", args=[task.pk])

        operator("bo", "view_task").get(url)
        operator("ana", "view_task", "view_texts").get(url)

        assert list(TextsRead.objects.values_list("operator_name", "task")) == [("ana", task.pk)]

    def test_what_cannot_be_written_down_is_not_shown(self):
        client = operator("ana", "view_pipelinerun", "view_texts")
        client.raise_request_exception = False
        with patch.object(TextsRead.objects, "bulk_create", side_effect=RuntimeError):
            page = client.get(page_of(run_with_texts()))

        assert page.status_code == 500
        assert "SECRET-PROSPECT" not in page.content.decode()

    def test_readings_are_listed_for_who_may_see_them_and_changed_by_nobody(self):
        run = run_with_texts()
        operator("ana", "view_pipelinerun", "view_texts").get(page_of(run))
        access, everything = TextsRead.objects.get(), boss()

        page = everything.get(ACCESS_LOG).content.decode()

        assert "ana" in page
        assert str(run) in page
        assert operator("cy", "view_pipelinerun", "view_texts").get(ACCESS_LOG).status_code == 403
        assert operator("eve", "view_textsread").get(ACCESS_LOG).status_code == 200
        for action in ("change", "delete"):
            url = reverse(f"admin:pipeline_textsread_{action}", args=[access.pk])
            assert everything.post(url, {"post": "yes"}).status_code == 403
        assert everything.get(reverse("admin:pipeline_textsread_add")).status_code == 403

    def test_a_reading_stays_when_operator_and_run_are_gone(self):
        run = run_with_texts()
        operator("ana", "view_pipelinerun", "view_texts").get(page_of(run))
        User.objects.get(username="ana").delete()
        run.delete()

        page = boss().get(ACCESS_LOG).content.decode()

        assert "ana" in page
        assert "no longer stored" in page

    def test_the_number_of_queries_does_not_grow_with_the_readings(self):
        client, run = boss(), run_with_texts()
        counts = []
        for times in (1, 30):
            for _ in range(times):
                client.get(page_of(run))
            with CaptureQueriesContext(connection) as seen:
                client.get(ACCESS_LOG)
            counts.append(len(seen))

        assert counts[0] == counts[1]
