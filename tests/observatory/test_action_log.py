"""The log: each row that a bulk action or button changes has its own entry, for every model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from axes.models import AccessAttempt
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.test import TestCase, override_settings
from django.urls import reverse
from django.utils import timezone

from agents.models import AgentModelConfig, ServedName
from pipeline.models import (
    Budget,
    CasebookEntry,
    Invite,
    Member,
    OperatorLink,
    PlaybookPage,
    Scenario,
    Task,
    TelegramUpdate,
    Track,
)
from pipeline.models.budgets import Scope
from pipeline.models.inbox import TaskKind, TaskStatus
from tests.canaries import MEMBER_KEY
from tests.forms import form_in, send
from tests.observatory.admin_rows import rows_with_texts


def _task(number: int) -> Task:
    update = TelegramUpdate.objects.create(bot_id=7, update_id=100 + number, raw="{}")
    return Task.objects.create(kind=TaskKind.MESSAGE, update=update, status=TaskStatus.DEAD_LETTER)


def _override(number: int, *, is_active: bool = True) -> AgentModelConfig:
    agent = ("trainer", "memory")[number]
    row = AgentModelConfig.objects.upsert(agent, "a/b", "olga")
    if not is_active:
        AgentModelConfig.objects.deactivate(agent)
        row.refresh_from_db()
    return row


def _member(number: int, access: str) -> Member:
    return Member.objects.create(telegram_id=500 + number, access=access)


# A row that an action changes, by the list and the action; "" for a list's every other action.
MADE_BY: dict[tuple[str, str], Callable[[int], Any]] = {
    ("agents_agentmodelconfig", "activate"): lambda number: _override(number, is_active=False),
    ("agents_agentmodelconfig", ""): _override,
    ("agents_servedname", ""): lambda n: ServedName.objects.create(
        provider="openai", requested_model="gpt-4o", served_model=f"model-{n}"
    ),
    ("pipeline_member", "approve_selected"): lambda number: _member(number, "waiting"),
    ("pipeline_member", ""): lambda number: _member(number, "approved"),
    ("pipeline_task", ""): _task,
    ("pipeline_budget", ""): lambda n: Budget.objects.create(
        scope=Scope.MODEL, name=f"a/{n}", cap_usd=1
    ),
    ("pipeline_operatorlink", ""): lambda number: OperatorLink.objects.create(
        user=User.objects.create_user(f"linked-{number}"), telegram_id=number
    ),
    ("pipeline_invite", ""): lambda number: Invite.objects.create(
        secret_sha256=str(number) * 64, expires_at=timezone.now() + timedelta(days=1)
    ),
    ("pipeline_playbookpage", ""): lambda n: PlaybookPage.objects.create(title=f"P{n}", text="x"),
    ("pipeline_scenario", ""): lambda n: Scenario.objects.create(title=f"S{n}", text="x"),
    ("pipeline_track", ""): lambda n: Track.objects.create(title=f"T{n}"),
    ("pipeline_casebookentry", ""): lambda n: CasebookEntry.objects.create(title=f"C{n}", text="x"),
    ("auth_group", ""): lambda n: Group.objects.create(name=f"G{n}"),
    ("axes_accessattempt", ""): lambda n: AccessAttempt.objects.create(
        username=f"u{n}", failures_since_start=1
    ),
}


@override_settings(SECURE_SSL_REDIRECT=False, OPENROUTER_API_KEY="sk-or-v1-not-a-key-0001")
class ActionLogTests(TestCase):
    def setUp(self) -> None:
        self.user = User.objects.create_superuser("ana")
        self.client.force_login(self.user)

    def test_every_bulk_action_of_every_list_logs_each_row(self):
        tried = 0
        for label, name in self.actions():
            make = MADE_BY.get((label, name)) or MADE_BY[label, ""]
            rows = [make(number) for number in (0, 1)]
            wanted = [(str(row.pk), str(row)[:200]) for row in rows]
            LogEntry.objects.all().delete()

            self.act(label, name, rows)

            with self.subTest(f"{label}: {name}"):
                assert sorted(pk for pk, _ in wanted) == sorted(
                    LogEntry.objects.filter(user=self.user).values_list("object_id", flat=True)
                )
                assert all(LogEntry.objects.values_list("change_message", flat=True)) == (
                    name != "delete_selected"
                )
            type(rows[0])._base_manager.filter(pk__in=[row.pk for row in rows]).exclude(
                pk__in=AgentModelConfig.objects.values("pk")
                if label == "agents_agentmodelconfig"
                else []
            ).delete()
            tried += 1
        assert tried >= 12

    def test_a_row_that_an_action_left_as_it_was_has_no_entry(self):
        rows = [_member(0, "approved"), _member(1, "waiting")]

        self.act("pipeline_member", "approve_selected", rows)

        assert [entry.object_id for entry in LogEntry.objects.all()] == [str(rows[1].pk)]

    def test_an_action_on_what_nobody_selected_or_on_no_id_changes_nothing(self):
        _member(0, "waiting")
        for selected in (["abc"], ["9" * 30], ["-1"], ["\x00"], []):
            data = {"action": "approve_selected", "index": 0, "_selected_action": selected}
            answer = self.client.post(reverse("admin:pipeline_member_changelist"), data)
            with self.subTest(selected):
                assert answer.status_code in {302, 400}
        assert not LogEntry.objects.exists()
        assert Member.objects.get().access == "waiting"

    def test_every_button_logs_each_row_that_it_changes(self):
        row = AgentModelConfig.objects.upsert("extraction", "a/b", "olga")
        AgentModelConfig.objects.upsert("extraction", "a/c", "olga")
        dana = Member(telegram_id=42, name="Dana")
        dana.keep_key("openrouter", MEMBER_KEY)
        dana.save()
        history = row.history.get(version=1).history_id
        overrides = "admin:agents_agentmodelconfig"
        restore = reverse(f"{overrides}_restore", args=[row.pk, history])
        table = [
            (f"{restore}?seen=2", row, "Restored v1."),
            (f"{reverse(f'{overrides}_remove')}?agent_name=extraction", row, "Back to default."),
            (reverse("admin:pipeline_member_remove_key", args=[dana.pk]), dana, "Removed key"),
        ]
        for url, changed, said in table:
            LogEntry.objects.all().delete()
            send(self.client, url)
            with self.subTest(url):
                entry = LogEntry.objects.get()
                assert (entry.user, entry.object_id) == (self.user, str(changed.pk))
                assert entry.change_message.startswith(said)

    def test_switching_all_overrides_off_and_trying_a_task_again_are_logged_too(self):
        rows = [_override(0), _override(1)]
        send(self.client, reverse("admin:agents_agentmodelconfig_stop_all"))
        assert {entry.object_id for entry in LogEntry.objects.all()} == {str(r.pk) for r in rows}
        LogEntry.objects.all().delete()

        task = _task(0)
        again = reverse("admin:pipeline_task_try_again", args=[task.pk])
        for _ in range(2):  # the second time there is nothing to change
            self.client.post(again)

        assert [entry.object_id for entry in LogEntry.objects.all()] == [str(task.pk)]

    def test_an_operators_account_and_its_log_cannot_be_deleted(self):
        nora = rows_with_texts()["auth_user"]

        refused = self.client.post(reverse("admin:auth_user_delete", args=[nora.pk]), {"post": "y"})

        assert refused.status_code == 403
        assert User.objects.filter(pk=nora.pk).exists()

    def actions(self) -> Iterator[tuple[str, str]]:
        request = self.client.get(reverse("admin:index")).wsgi_request
        for model, model_admin in admin.site._registry.items():
            for name in model_admin.get_actions(request):
                yield f"{model._meta.app_label}_{model._meta.model_name}", name

    def act(self, label: str, name: str, rows: list[Any]) -> None:
        """Select the rows in the list, run the action, and say yes if it asks."""
        url = reverse(f"admin:{label}_changelist")
        show = {"show": "all"} if label == "pipeline_task" else {}
        data = {"action": name, "index": 0, "_selected_action": [row.pk for row in rows]}
        answer = self.client.post(f"{url}?{'&'.join(f'{k}={v}' for k, v in show.items())}", data)
        if answer.status_code == 200:
            confirmed = form_in(answer.content.decode())
            confirmed["_selected_action"] = [row.pk for row in rows]
            answer = self.client.post(url, confirmed)
        assert answer.status_code == 302
