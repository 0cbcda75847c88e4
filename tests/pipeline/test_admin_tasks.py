"""The operator's pages of tasks: what was given up, who may read what, and another try."""

from __future__ import annotations

import json
from html import unescape
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, TestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from observatory.navigation import sidebar
from pipeline.admin import paging
from pipeline.models import Member, OutgoingMessage, PipelineRun, StepRun, Task, TelegramUpdate
from pipeline.models.inbox import PermanentFailureKind, TaskKind, TaskStatus
from tests.pipeline.test_admin import operator

LIST = reverse("admin:pipeline_task_changelist")
SECRET_PROSPECT = "SECRET-PROSPECT <script>alert(1)</script>"
CHAT, PERSON = 778899001122, 665544332211


def task(number: int = 1, status: str = TaskStatus.DEAD_LETTER, **fields: Any) -> Task:
    message = {"message": {"text": SECRET_PROSPECT, "chat": {"id": CHAT}}}
    update = TelegramUpdate.objects.create(
        bot_id=1,
        update_id=number,
        kind="message",
        chat_id=CHAT,
        user_id=PERSON,
        raw=fields.pop("raw", json.dumps({"update_id": number} | message)),
    )
    defaults = {
        "kind": TaskKind.MESSAGE,
        "delivery_count": 5,
        "error": f"ValueError: cannot read {SECRET_PROSPECT}",
        "error_type": "ValueError",
        "ended_at": timezone.now(),
    }
    return Task.objects.create(update=update, status=status, **(defaults | fields))


def run_of(update: TelegramUpdate | None, **fields: Any) -> PipelineRun:
    defaults = {"pipeline": "support", "source": "telegram", "started_at": timezone.now()}
    return PipelineRun.objects.create(update=update, **(defaults | fields))


def step_of(run: PipelineRun, **fields: Any) -> StepRun:
    defaults = {"position": 0, "agent": "extraction", "mode": "sequential"}
    return StepRun.objects.create(run=run, started_at=timezone.now(), **(defaults | fields))


def page_of(task: Task) -> str:
    return reverse("admin:pipeline_task_change", args=[task.pk])


def again_url(task: Task) -> str:
    return reverse("admin:pipeline_task_try_again", args=[task.pk])


def status_of(task: Task) -> str:
    return Task.objects.get(pk=task.pk).status


def boss() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def said(client: Client, url: str, **data: Any) -> str:
    return client.post(url, data, follow=True).content.decode()


@override_settings(SECURE_SSL_REDIRECT=False)
class TaskListTests(TestCase):
    def listed(self, client: Client, query: str = "") -> set[str]:
        rows = client.get(f"{LIST}{query}").context["cl"].result_list
        return {row.status for row in rows}

    def test_it_shows_what_was_given_up_and_on_demand_what_is_open_or_all(self):
        for number, status in enumerate(TaskStatus.values):
            task(number, status)
        ana = operator("ana", "view_task")

        assert self.listed(ana) == {"dead"}
        assert self.listed(ana, "?show=nonsense") == {"dead"}
        assert self.listed(ana, "?show=open") == {"waiting", "running"}
        assert self.listed(ana, "?show=all") == set(TaskStatus.values)
        assert self.listed(ana, "?show=all&kind__exact=step") == set()

    def test_a_row_says_who_what_and_the_kind_of_the_error_even_to_who_may_read_texts(self):
        Member.objects.create(telegram_id=PERSON, name="Dana Dawes")
        task()

        page = operator("ana", "view_task", "view_texts").get(LIST).content.decode()

        for word in ("Dana Dawes", str(CHAT), "message", "Failed", "ValueError"):
            assert word in page, word
        assert "SECRET-PROSPECT" not in page

    def test_a_permanent_failure_is_named_by_its_kind_and_one_without_a_type_by_its_class(self):
        task(1, error="its worker died 5 times", error_type=PermanentFailureKind.WORKER_DIED)
        task(2, error=f"KeyError: {SECRET_PROSPECT}", error_type=PermanentFailureKind.UNREADABLE)
        task(3, error_type="", error=f"LookupError: {SECRET_PROSPECT}")

        page = operator("ana", "view_task").get(LIST).content.decode()

        for words in ("Its worker died every time", "Unreadable", "LookupError"):
            assert words in page, words
        assert "SECRET-PROSPECT" not in page

    def test_a_background_step_is_named_by_its_agent_and_its_runs_member(self):
        dana = Member.objects.create(telegram_id=PERSON, username="dana_d")
        step = step_of(run_of(None, member=dana), agent="memory", mode="background")
        Task.objects.create(kind=TaskKind.STEP, step=step, status=TaskStatus.DEAD_LETTER)

        page = operator("ana", "view_task").get(LIST).content.decode()

        for word in ("memory", "Background step", "dana_d"):
            assert word in page, word

    def test_a_run_again_is_named_by_its_pipeline_and_leads_to_its_run(self):
        dana = Member.objects.create(telegram_id=PERSON, username="dana_d")
        run = run_of(None, member=dana, source="again")
        row = Task.objects.create(kind=TaskKind.RERUN, run=run, status=TaskStatus.DEAD_LETTER)
        ana = operator("ana", "view_task", "view_pipelinerun", "view_texts")

        listed, page = (ana.get(url).content.decode() for url in (LIST, page_of(row)))

        for word in ("support", "Re-run for an operator", "dana_d"):
            assert word in listed, word
        assert reverse("admin:pipeline_pipelinerun_change", args=[run.pk]) in page

    def test_when_nothing_was_given_up_it_says_so_at_once(self):
        task(status=TaskStatus.SUCCESSFUL)
        ana = operator("ana", "view_task")

        assert "No failed tasks." in ana.get(LIST).content.decode()
        assert "No failed tasks." not in ana.get(f"{LIST}?q=7").content.decode()

    def test_a_chat_or_a_person_is_found_by_number_and_a_word_finds_nothing(self):
        task(status=TaskStatus.SUCCESSFUL)
        ana = operator("ana", "view_task")

        for wanted in (CHAT, PERSON):
            assert self.listed(ana, f"?show=all&q={wanted}") == {"done"}
        for unknown in ("7", "Dana", "9" * 40):
            assert self.listed(ana, f"?show=all&q={unknown}") == set()

    def test_the_number_of_queries_does_not_grow_with_the_rows(self):
        ana = operator("ana", "view_task", "change_task")
        counts = []
        for upto in (5, 50):
            for number in range(Task.objects.count(), upto):
                Member.objects.create(telegram_id=number, name=f"Member {number}")
                task(number)
                TelegramUpdate.objects.filter(update_id=number).update(user_id=number)
            with CaptureQueriesContext(connection) as seen:
                page = ana.get(LIST)
            assert len(page.context["cl"].result_list) == upto
            assert not any('"raw"' in query["sql"] for query in seen.captured_queries)
            counts.append(len(seen))

        assert counts[0] == counts[1] <= 8

    def test_a_large_table_is_not_counted_to_its_end(self):
        for number in range(12):
            task(number)
        with patch.object(paging, "COUNTED", 10):
            page = operator("ana", "view_task").get(LIST)

        assert page.context["cl"].result_count == 10

    def test_try_again_gives_the_dead_ones_a_new_life_and_says_how_many(self):
        dead, done = task(1), task(2, TaskStatus.SUCCESSFUL)
        olga = operator("olga", "view_task", "change_task")

        page = said(
            olga, f"{LIST}?show=all", action="try_again", _selected_action=[dead.pk, done.pk]
        )

        assert "Queued again: 1. Skipped because they hadn't failed: 1." in unescape(page)
        assert status_of(dead) == TaskStatus.READY
        assert status_of(done) == TaskStatus.SUCCESSFUL
        assert Task.objects.get(pk=dead.pk).delivery_count == 0
        assert LogEntry.objects.get().change_message == "Tried again."

    def test_who_may_only_look_is_offered_no_action_and_gets_none(self):
        dead = task()
        ana = operator("ana", "view_task")

        said(ana, LIST, action="try_again", _selected_action=[dead.pk])

        assert "Try again" not in ana.get(LIST).content.decode()
        assert status_of(dead) == TaskStatus.DEAD_LETTER

    def test_nobody_adds_deletes_or_edits_a_task_and_strangers_see_none(self):
        dead = task()
        everything = boss()

        assert everything.get(reverse("admin:pipeline_task_add")).status_code == 403
        delete = reverse("admin:pipeline_task_delete", args=[dead.pk])
        assert everything.post(delete, {"post": "yes"}).status_code == 403
        assert everything.post(page_of(dead), {"status": "done"}).status_code == 405
        assert operator("cy").get(LIST).status_code == 403
        assert status_of(dead) == TaskStatus.DEAD_LETTER

    def test_it_has_its_place_in_the_menu_for_who_may_see_it(self):
        for name, permissions, is_there in (("ana", ["view_task"], True), ("bo", [], False)):
            client = operator(name, "view_member", *permissions)
            request = client.get(reverse("admin:pipeline_member_changelist")).wsgi_request
            links = [item["link"] for place in sidebar(request) for item in place["items"]]

            assert (LIST in links) is is_there


@override_settings(SECURE_SSL_REDIRECT=False)
class TaskPageTests(TestCase):
    def story(self, **fields: Any) -> Task:
        """A task that was given up, with its run and two messages in return."""
        row = task(**fields)
        assert row.update is not None
        run_of(row.update, status="given_up")
        OutgoingMessage.objects.create(
            update=row.update, number=0, text=SECRET_PROSPECT, status="sent"
        )
        OutgoingMessage.objects.create(update=row.update, number=1, status="ambiguous")
        return row

    def read(self, row: Task, *permissions: str) -> str:
        client = operator(f"op-{uuid4().hex[:6]}", "view_task", *permissions)
        return str(client.get(page_of(row)).content.decode())

    def test_who_may_read_texts_reads_error_update_and_replies_escaped(self):
        page = self.read(self.story(), "view_texts")

        assert page.count("SECRET-PROSPECT") == 3
        assert "&lt;script&gt;" in page
        assert "<script" not in page
        assert "  &quot;message&quot;: {\n" in page

    def test_who_may_not_read_texts_sees_what_became_of_it(self):
        Member.objects.create(telegram_id=PERSON, name="Dana Dawes")

        page = self.read(self.story())

        assert "SECRET-PROSPECT" not in page
        for words in ("ValueError", "Dana Dawes", "Failed", str(CHAT), "may not have arrived"):
            assert words in page, words

    def test_no_text_is_even_fetched_for_who_may_not_read_it(self):
        client, row = operator("ana", "view_task"), self.story()

        with CaptureQueriesContext(connection) as seen:
            client.get(page_of(row))

        assert not any('"raw"' in query["sql"] for query in seen.captured_queries)
        assert not any('replies"."text"' in query["sql"] for query in seen.captured_queries)
        assert len(seen) <= 9

    def test_nothing_can_run_and_only_we_can_be_posted_to(self):
        row = self.story()

        for permissions, form_action in (([], "'none'"), (["change_task"], "'self'")):
            client = operator(f"op{len(permissions)}", "view_task", "view_texts", *permissions)
            policy = client.get(page_of(row))["Content-Security-Policy"]

            assert policy.startswith("default-src 'none'")
            assert "script-src" not in policy
            assert f"form-action {form_action}" in policy

    def test_the_run_is_a_link_for_who_may_see_runs(self):
        row = self.story()
        link = reverse("admin:pipeline_pipelinerun_change", args=[PipelineRun.objects.get().pk])

        assert link in self.read(row, "view_pipelinerun")
        assert link not in self.read(row)

    def test_a_background_step_leads_to_its_run(self):
        step = step_of(run_of(None), agent="memory", mode="background")
        row = Task.objects.create(kind=TaskKind.STEP, step=step, status=TaskStatus.DEAD_LETTER)

        page = self.read(row, "view_pipelinerun", "view_texts")

        assert reverse("admin:pipeline_pipelinerun_change", args=[step.run_id]) in page
        assert "memory" in page

    def test_an_update_that_no_parser_takes_is_shown_as_it_came(self):
        for raw, shown in (
            ("no JSON", "no JSON"),
            ('{"half of a pair": "\\ud800"}', "\\ud800"),
            ("[" * 100_000, "[[[["),
        ):
            with self.subTest(raw[:20]):
                Task.objects.all().delete()
                TelegramUpdate.objects.all().delete()

                assert shown in self.read(task(raw=raw), "view_texts")

    def test_a_key_that_was_held_back_is_told(self):
        row = task()
        TelegramUpdate.objects.update(holds_key=True)

        assert "The message contained an API key, so its text wasn't stored." in self.read(row)

    def test_without_permission_there_is_no_page_and_a_wrong_id_is_not_found(self):
        row = task()

        assert operator("cy").get(page_of(row)).status_code == 403
        ana = operator("ana", "view_task", "change_task")
        for wrong in ("abc", "0", "9" * 40):
            url = reverse("admin:pipeline_task_change", args=[wrong])
            assert ana.get(url).status_code == 404
            again = reverse("admin:pipeline_task_try_again", args=[wrong])
            assert ana.post(again).status_code == 404

    def test_the_button_tries_it_again_and_the_page_says_so_without_the_button(self):
        row = task()
        olga = operator("olga", "view_task", "change_task")
        assert again_url(row) in olga.get(page_of(row)).content.decode()

        page = said(olga, again_url(row))

        assert "Queued again. The next free worker picks it up." in page
        assert again_url(row) not in page
        assert status_of(row) == TaskStatus.READY
        assert LogEntry.objects.get().user_id == User.objects.get(username="olga").pk

    def test_a_second_press_changes_nothing(self):
        row = task(status=TaskStatus.RUNNING, ended_at=None)
        olga = operator("olga", "view_task", "change_task")

        assert "Nothing changed" in said(olga, again_url(row))
        assert status_of(row) == TaskStatus.RUNNING
        assert not LogEntry.objects.exists()

    def test_it_takes_the_permission_a_post_and_its_token(self):
        row = task()

        assert operator("ana", "view_task").post(again_url(row)).status_code == 403
        olga = operator("olga", "view_task", "change_task")
        assert olga.get(again_url(row)).status_code == 405
        forged = Client(enforce_csrf_checks=True)
        forged.force_login(User.objects.get(username="olga"))
        assert forged.post(again_url(row)).status_code == 403
        assert Client().post(again_url(row)).status_code == 302
        assert status_of(row) == TaskStatus.DEAD_LETTER

    def test_the_button_carries_the_token(self):
        row = task()
        operator("olga", "view_task", "change_task")
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(User.objects.get(username="olga"))
        page = browser.get(page_of(row))

        token = page.content.decode().partition('csrfmiddlewaretoken" value="')[2].partition('"')[0]
        browser.post(again_url(row), {"csrfmiddlewaretoken": token})

        assert status_of(row) == TaskStatus.READY


@override_settings(SECURE_SSL_REDIRECT=False)
class AttemptsOfARunTests(TestCase):
    def run_with_two_attempts(self) -> PipelineRun:
        run = run_of(None, status="given_up")
        model = {"requested_model": "openai/gpt-5-mini", "payer": "shared"}
        step_of(run, position=1, agent="strategist", status="waiting")
        step_of(run, attempt=2, status="ok", **model)
        step_of(run, attempt=1, status="interrupted", **model)
        return run

    def test_the_page_of_a_run_shows_every_attempt_at_a_step_in_order(self):
        run = self.run_with_two_attempts()
        url = reverse("admin:pipeline_pipelinerun_change", args=[run.pk])

        page = operator("ana", "view_pipelinerun").get(url).content.decode()

        steps = [part.partition("</h2>")[0] for part in page.split('class="step"')[1:]]
        assert [step.count("attempt&nbsp;2") for step in steps] == [0, 1, 0]
        assert "Interrupted by a restart" in steps[0]
        assert "Queued" in steps[2]
        assert "attempt&nbsp;1" not in page

    def test_the_list_of_runs_names_an_agent_once_and_marks_what_was_given_up(self):
        self.run_with_two_attempts()

        page = boss().get(reverse("admin:pipeline_pipelinerun_changelist")).content.decode()

        assert "openai/gpt-5-mini (Team key): extraction<" in page
        label = page.partition("Failed after all attempts")[0].rpartition("<span")[2]
        assert "red" in label
