"""Roles: what each of them opens and changes, page by page, and that texts are for their readers."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.db import connection, migrations
from django.db.migrations.executor import MigrationExecutor
from django.test import Client, TestCase, TransactionTestCase, override_settings
from django.urls import reverse
from django.utils import timezone

from agents.models import AgentModelConfig
from observatory import roles
from pipeline.models import (
    CasebookEntry,
    Fact,
    Invite,
    Lesson,
    LLMCall,
    Member,
    OutgoingMessage,
    PipelineRun,
    PlaybookPage,
    PromptText,
    Scenario,
    StepRun,
    Task,
    TelegramUpdate,
    Track,
)
from pipeline.models.inbox import TaskKind, TaskStatus

SECRET = "Quillfeather"
OPERATOR, ANALYST, READER = "Operator", "Analyst", "Reader of texts"
MIGRATION = "0001_roles"
# Who a column of the table is: O an operator, A an analyst, R who only reads texts, r an analyst who
# reads them, B an operator who does, N who is signed in without a role.
WHO = {
    "O": [OPERATOR],
    "A": [ANALYST],
    "R": [READER],
    "r": [ANALYST, READER],
    "B": [OPERATOR, READER],
    "N": [],
}
PAGES = {  # who opens it
    "agents_agentmodelconfig_changelist": "OArB",
    "agents_agentmodelconfig_add": "OB",
    "agents_agentmodelconfig_change": "OArB",
    "agents_agentmodelconfig_history": "OArB",
    "agents_agentmodelconfig_delete": "",
    "pipeline_member_changelist": "OArB",
    "pipeline_member_add": "OB",
    "pipeline_member_change": "OArB",
    "pipeline_member_history": "OArB",
    "pipeline_member_delete": "",
    "pipeline_invite_changelist": "OB",
    "pipeline_invite_add": "OB",
    "pipeline_invite_delete": "OB",
    "pipeline_task_changelist": "OB",
    "pipeline_task_change": "OB",
    "pipeline_pipelinerun_changelist": "OArB",
    "pipeline_pipelinerun_change": "OArB",
    "pipeline_pipelinerun_delete": "",
    "pipeline_casebookentry_changelist": "RrB",
    "pipeline_casebookentry_change": "RrB",
    "pipeline_casebookentry_history": "RrB",
    "pipeline_casebookentry_delete": "B",
    **{
        f"pipeline_{model}_{page}": "OB"
        for model in ("playbookpage", "track", "scenario")
        for page in ("changelist", "add", "change", "history", "delete")
    },
    **{f"auth_{model}_{page}": "" for model in ("user", "group") for page in ("changelist", "add")},
}
SHOWING_TEXTS = {"pipeline_pipelinerun_change", "pipeline_task_change", "pipeline_member_change"}
ABOUT_TEXTS = SHOWING_TEXTS | {
    "pipeline_casebookentry_changelist",
    "pipeline_casebookentry_change",
    "pipeline_casebookentry_history",
    "pipeline_casebookentry_delete",
}


def make_roles() -> None:
    """Do what the migration does; earlier tests may have emptied the database."""
    editor = SimpleNamespace(connection=connection)
    for operation in import_module(f"observatory.migrations.{MIGRATION}").Migration.operations:
        assert isinstance(operation, migrations.RunPython)
        operation.code(apps, editor)  # type: ignore[arg-type]


@override_settings(SECURE_SSL_REDIRECT=False)
class RoleCase(TestCase):
    rows: dict[str, Any]
    clients: dict[str, Client]

    @classmethod
    def setUpTestData(cls) -> None:
        make_roles()
        cls.rows = rows_with_texts()

    def setUp(self) -> None:
        self.clients = {name: self._client(name, groups) for name, groups in WHO.items()}

    @staticmethod
    def _client(name: str, groups: list[str]) -> Client:
        user = User.objects.create_user(f"user-{name}", password="x", is_staff=True)
        user.groups.set(Group.objects.filter(name__in=groups))
        client = Client()
        client.force_login(user)
        return client

    def url(self, page: str) -> str:
        model, _, kind = page.rpartition("_")
        arguments = [] if kind in {"changelist", "add"} else [self.rows[model].pk]
        return reverse(f"admin:{page}", args=arguments)


class PageTests(RoleCase):
    def test_each_role_opens_its_pages_and_no_other(self):
        for page, allowed in PAGES.items():
            opened = {name: self.clients[name].get(self.url(page)).status_code for name in WHO}
            with self.subTest(page):
                assert opened == {name: 200 if name in allowed else 403 for name in WHO}

    def test_the_list_of_places_leads_nowhere_that_is_refused(self):
        for name, client in self.clients.items():
            page = client.get(reverse("admin:index")).content.decode()
            for listed in [page_name for page_name in PAGES if page_name.endswith("_changelist")]:
                with self.subTest(f"{name}: {listed}"):
                    assert (f'href="{self.url(listed)}"' in page) == (name in PAGES[listed])

    def test_who_only_looks_changes_nothing_by_any_form(self):
        before = state()
        for name in ("A", "R", "r", "N"):
            for page in PAGES:
                data = {"post": "yes", "title": "changed", "name": "changed", "note": "changed"}
                self.clients[name].post(self.url(page), data)
            again = reverse("admin:pipeline_task_try_again", args=[self.rows["pipeline_task"].pk])
            self.clients[name].post(again)
            for model in ("member", "task", "scenario", "casebookentry"):
                for action in ("approve_selected", "block", "try_again", "delete_selected"):
                    row = self.rows[f"pipeline_{model}"]
                    self.clients[name].post(
                        reverse(f"admin:pipeline_{model}_changelist"),
                        {"action": action, "_selected_action": [row.pk], "post": "yes"},
                    )

        assert state() == before

    def test_an_operator_changes_what_is_theirs_to_change(self):
        client = self.clients["O"]
        dana, scenario = self.rows["pipeline_member"], self.rows["pipeline_scenario"]

        client.post(reverse("admin:pipeline_invite_add"), {"note": "Eli"})
        client.post(
            self.url("pipeline_member_change"),
            {"telegram_id": 42, "name": "Dana", "access": "blocked", **no_inline("facts")},
        )
        client.post(reverse("admin:pipeline_task_try_again", args=[self.rows["pipeline_task"].pk]))
        client.post(self.url("pipeline_scenario_delete"), {"post": "yes"})
        override = {"agent_name": "trainer", "model_id": "a/b", "on_failure": "fail"}
        with self.captureOnCommitCallbacks(execute=True):
            client.post(reverse("admin:agents_agentmodelconfig_add"), override)

        dana.refresh_from_db()
        assert dana.access == "blocked"
        assert Invite.objects.filter(note="Eli", created_by="user-O").exists()
        assert Task.objects.get().status == TaskStatus.WAITING
        assert not Scenario.objects.filter(pk=scenario.pk).exists()
        assert AgentModelConfig.objects.get(agent_name="trainer").set_by == "user-O"

    def test_nobody_gives_themselves_another_role(self):
        for name, client in self.clients.items():
            user = User.objects.get(username=f"user-{name}")
            url = reverse("admin:auth_user_change", args=[user.pk])

            client.post(url, {"username": user.username, "is_superuser": "on"})

            user.refresh_from_db()
            assert not user.is_superuser


class TextTests(RoleCase):
    def test_texts_are_on_no_page_of_who_may_not_read_them(self):
        for name in ("O", "A", "N"):
            for page in PAGES:
                response = self.clients[name].get(self.url(page))
                with self.subTest(f"{name}: {page}"):
                    assert SECRET not in response.content.decode()

    def test_readers_read_them_where_they_may_look(self):
        for name in ("r", "B"):
            for page in ABOUT_TEXTS:
                if name not in PAGES[page]:
                    continue
                response = self.clients[name].get(self.url(page))
                with self.subTest(f"{name}: {page}"):
                    assert SECRET in response.content.decode()

    def test_no_search_filter_or_order_tells_what_a_text_says(self):
        """An address may name any column: what it finds must not depend on a text."""
        probes = [
            ("pipeline_task_changelist", f"error__contains={SECRET}"),
            ("pipeline_task_changelist", f"update__raw__contains={SECRET}"),
            ("pipeline_task_changelist", f"update__replies__text__contains={SECRET}"),
            ("pipeline_pipelinerun_changelist", f"answer__text__contains={SECRET}"),
            ("pipeline_pipelinerun_changelist", f"steps__error__contains={SECRET}"),
            ("pipeline_pipelinerun_changelist", f"steps__calls__output__text__contains={SECRET}"),
            ("pipeline_member_changelist", f"facts__text__contains={SECRET}"),
            ("pipeline_member_changelist", f"cases__text__contains={SECRET}"),
        ]
        for page, query in probes:
            for name in ("O", "A"):
                with self.subTest(f"{name}: {page}?{query}"):
                    response = self.clients[name].get(f"{self.url(page)}?{query}")

                    assert response.status_code == (400 if name in PAGES[page] else 403)

        for query in (
            f"pipeline_task_changelist?show=all&q={SECRET}",
            f"pipeline_pipelinerun_changelist?q={SECRET}",
        ):
            page, _, asked = query.partition("?")
            response = self.clients["O"].get(f"{self.url(page)}?{asked}")
            assert response.context["cl"].result_count == 0


class MigrationTests(TransactionTestCase):
    """What operators made of a role outlives every migration."""

    def tearDown(self) -> None:
        self._migrate(MIGRATION)

    def test_a_database_gets_the_roles_with_their_permissions(self):
        self._migrate(None)
        Group.objects.all().delete()
        Permission.objects.all().delete()  # as on a database that has just got its tables

        self._migrate(MIGRATION)

        assert set(Group.objects.values_list("name", flat=True)) == {OPERATOR, ANALYST, READER}
        reader = Group.objects.get(name=READER).permissions
        assert set(reader.values_list("codename", flat=True)) == {
            "view_texts",
            "view_casebookentry",
        }
        names = Permission.objects.filter(codename="view_member").values_list("name", flat=True)
        assert list(names) == ["Can view member"]

    def test_what_operators_changed_is_neither_undone_nor_taken_away(self):
        self._migrate(None)
        self._migrate(MIGRATION)
        analyst = Group.objects.get(name=ANALYST)
        analyst.permissions.clear()
        user = User.objects.create_user("olga", is_staff=True)
        user.groups.add(Group.objects.get(name=OPERATOR))

        self._migrate(None)
        assert set(Group.objects.values_list("name", flat=True)) == {OPERATOR, ANALYST}
        self._migrate(MIGRATION)

        assert not Group.objects.get(name=ANALYST).permissions.exists()
        assert list(user.groups.values_list("name", flat=True)) == [OPERATOR]

    def test_a_later_permission_is_added_to_what_operators_made_of_a_role(self):
        self._migrate(MIGRATION)
        make_roles()
        analyst = Group.objects.get(name=ANALYST)
        analyst.permissions.clear()
        Group.objects.filter(name=OPERATOR).delete()
        editor: Any = SimpleNamespace(connection=connection)

        for name in (ANALYST, OPERATOR):
            later = roles.grant(name, {"pipeline.view_steprun"})
            later.code(apps, editor)  # type: ignore[arg-type]

        codenames = analyst.permissions.values_list("codename", flat=True)
        assert list(codenames) == ["view_steprun"]
        assert not Group.objects.filter(name=OPERATOR).exists()

    @staticmethod
    def _migrate(name: str | None) -> None:
        executor = MigrationExecutor(connection)
        executor.migrate([("observatory", name)])


def no_inline(prefix: str) -> dict[str, object]:
    return {f"{prefix}-TOTAL_FORMS": 0, f"{prefix}-INITIAL_FORMS": 0}


def state() -> list[object]:
    tables = (AgentModelConfig, Member, Invite, Task, CasebookEntry, PlaybookPage, Track, Scenario)
    return [list(table._default_manager.order_by("pk").values()) for table in tables]


def rows_with_texts() -> dict[str, Any]:
    """Write one row for each page, with a secret in all that is a text."""
    now = timezone.now()
    text = PromptText.objects.create(sha256="0" * 64, text=SECRET)
    dana = Member.objects.create(telegram_id=42, name="Dana", access="approved")
    Fact.objects.create(member=dana, kind="goal", text=SECRET, since_version=1)
    update = TelegramUpdate.objects.create(
        bot_id=7, update_id=1, kind="message", chat_id=42, user_id=42, raw=f'{{"text": "{SECRET}"}}'
    )
    OutgoingMessage.objects.create(update=update, number=0, text=SECRET)
    task = Task.objects.create(
        kind=TaskKind.MESSAGE,
        update=update,
        status=TaskStatus.DEAD,
        error=f"ValueError: {SECRET}",
        ended_at=now,
    )
    run = PipelineRun.objects.create(
        pipeline="support",
        source="telegram",
        member=dana,
        update=update,
        user_message=text,
        answer=text,
        background=text,
        started_at=now,
    )
    step = StepRun.objects.create(
        run=run,
        position=0,
        agent="strategist",
        mode="sequential",
        status="failed",
        error=f"RequestForbidden: refused: {SECRET}",
        member_line=SECRET,
        inputs=text,
        output=text,
        reply=text,
        started_at=now,
    )
    LLMCall.objects.create(
        step=step,
        number=1,
        provider="openrouter",
        requested_model="openai/gpt-5-mini",
        purse="shared",
        system_prompt=text,
        user_message=text,
        output=text,
        error=f"RequestForbidden: refused: {SECRET}",
        started_at=now,
    )
    track = Track.objects.create(title="Discovery")
    Lesson.objects.create(track=track, level=1, title="One", text="text", task="task")
    return {
        "agents_agentmodelconfig": AgentModelConfig.objects.upsert("extraction", "a/b", "olga"),
        "pipeline_member": dana,
        "pipeline_invite": Invite.objects.create(secret_sha256="0" * 64, expires_at=now),
        "pipeline_task": task,
        "pipeline_pipelinerun": run,
        "pipeline_casebookentry": CasebookEntry.objects.create(
            title=SECRET, text=SECRET, member=dana
        ),
        "pipeline_playbookpage": PlaybookPage.objects.create(title="Page", text="text"),
        "pipeline_track": track,
        "pipeline_scenario": Scenario.objects.create(title="Scenario", text="text"),
    }
