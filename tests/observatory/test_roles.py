"""Roles: what each one opens and changes, page by page, and that only readers see texts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import TransactionTestCase
from django.urls import reverse

from agents.models import AgentModelConfig
from observatory import roles
from pipeline.models import (
    CasebookEntry,
    Invite,
    Member,
    PlaybookPage,
    Scenario,
    Task,
    Track,
)
from pipeline.models.inbox import TaskStatus
from tests.forms import send
from tests.observatory.admin_rows import SECRET
from tests.observatory.role_case import (
    ABOUT_TEXTS,
    ANALYST,
    MIGRATION,
    OPERATOR,
    PAGES,
    READER,
    WHO,
    RoleCase,
    make_roles,
)


class PageTests(RoleCase):
    def test_each_role_opens_its_pages_and_no_other(self):
        for page, allowed in PAGES.items():
            opened = {name: self.status(name, page) != 403 for name in WHO}
            with self.subTest(page):
                assert opened == {name: name in allowed for name in WHO}

    def test_every_page_of_the_admin_has_its_row_in_the_table(self):
        """A new page is to be thought of: who opens it?"""
        names = {
            url.name
            for model_admin in admin.site._registry.values()
            for url in model_admin.get_urls()
            if url.name
        }

        assert names == set(PAGES)

    def test_the_list_of_places_leads_nowhere_that_is_refused(self):
        for name, client in self.clients.items():
            page = client.get(reverse("admin:index")).content.decode()
            lists = [page for page in PAGES if page.endswith("_changelist")]
            for listed in lists:
                if listed.startswith("procrastinate_"):  # the queue's own table has no place there
                    continue
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
        send(
            client,
            self.url("pipeline_member_change"),
            {"name": "Dana", "access": "blocked", **no_inline("facts")},
        )
        client.post(reverse("admin:pipeline_task_try_again", args=[self.rows["pipeline_task"].pk]))
        send(client, self.url("pipeline_scenario_delete"), {"post": "yes"})
        override = {"agent_name": "trainer", "model_id": "a/b", "on_failure": "fail"}
        with self.captureOnCommitCallbacks(execute=True):
            client.post(reverse("admin:agents_agentmodelconfig_add"), override)

        dana.refresh_from_db()
        assert dana.access == "blocked"
        assert Invite.objects.filter(note="Eli", created_by="user-O").exists()
        assert Task.objects.get().status == TaskStatus.READY
        assert not Scenario.objects.filter(pk=scenario.pk).exists()
        assert AgentModelConfig.objects.get(agent_name="trainer").set_by == "user-O"

    def test_nobody_gives_themselves_another_role(self):
        every = Permission.objects.filter(content_type__app_label="auth")
        for name, client in self.clients.items():
            if name == "S":
                continue
            user = User.objects.get(username=f"user-{name}")
            user.user_permissions.set(every)  # even who was given all of Django's rights
            url = reverse("admin:auth_user_change", args=[user.pk])

            forged = {"username": user.username, "is_superuser": "on", "seen_state": "{}"}
            assert client.post(url, forged).status_code == 403
            password = reverse("admin:auth_user_password_change", args=[user.pk])
            assert client.post(password, {"password1": "x", "password2": "x"}).status_code == 403

            user.refresh_from_db()
            assert not user.is_superuser


class TextTests(RoleCase):
    def test_texts_are_on_no_page_of_who_may_not_read_them(self):
        for name in ("O", "A", "N"):
            for page in PAGES:
                response = self.clients[name].get(self.url(page))
                with self.subTest(f"{name}: {page}"):
                    assert SECRET not in response.getvalue().decode()

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
