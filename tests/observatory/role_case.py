"""Who may open which page of the admin, as data, and an operator of each role to try it with."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import connection, migrations, transaction
from django.test import Client, TestCase, override_settings
from django.urls import reverse

from tests.observatory.admin_rows import rows_with_texts

OPERATOR, ANALYST, READER = "Operator", "Analyst", "Reader of texts"
MIGRATION = "0001_roles"
MIGRATIONS = (MIGRATION, "0003_served_names", "0004_budgets")
# Who a column of the table is: O an operator, A an analyst, R who only reads texts, r an analyst
# who reads them, B an operator who does, N who is signed in without a role, S a superuser.
WHO = {
    "O": [OPERATOR],
    "A": [ANALYST],
    "R": [READER],
    "r": [ANALYST, READER],
    "B": [OPERATOR, READER],
    "N": [],
    "S": [],
}
PAGES = {  # who opens it
    "agents_agentmodelconfig_changelist": "OArBS",
    "agents_agentmodelconfig_add": "OBS",
    "agents_agentmodelconfig_change": "OArBS",
    "agents_agentmodelconfig_changes": "OArBS",
    "agents_agentmodelconfig_history": "OArBS",
    "agents_agentmodelconfig_history_of": "OArBS",
    "agents_agentmodelconfig_of": "OArBS",
    "agents_agentmodelconfig_remove": "OBS",
    "agents_agentmodelconfig_restore": "OBS",
    "agents_agentmodelconfig_state": "OArBS",
    "agents_agentmodelconfig_stop_all": "OBS",
    "agents_agentmodelconfig_undo": "OBS",
    "agents_agentmodelconfig_delete": "",
    **{f"agents_servedname_{page}": "OArBS" for page in ("changelist", "change", "history")},
    "agents_servedname_add": "OBS",
    "agents_servedname_delete": "OBS",
    "pipeline_member_changelist": "OArBS",
    "pipeline_member_add": "OBS",
    "pipeline_member_change": "OArBS",
    "pipeline_member_history": "OArBS",
    "pipeline_member_remove_key": "OBS",
    "pipeline_member_delete": "S",
    **{f"pipeline_budget_{page}": "OArBS" for page in ("changelist", "change", "history")},
    "pipeline_budget_add": "OBS",
    "pipeline_budget_delete": "OBS",
    **{f"pipeline_operatorlink_{page}": "S" for page in ("changelist", "change", "history")},
    "pipeline_operatorlink_mine": "OARrBNS",
    "pipeline_operatorlink_add": "",
    "pipeline_operatorlink_delete": "S",
    "pipeline_invite_changelist": "OBS",
    "pipeline_invite_add": "OBS",
    "pipeline_invite_change": "OBS",
    "pipeline_invite_history": "OBS",
    "pipeline_invite_delete": "OBS",
    "pipeline_task_changelist": "OBS",
    "pipeline_task_add": "",
    "pipeline_task_change": "OBS",
    "pipeline_task_history": "OBS",
    "pipeline_task_try_again": "OBS",
    "pipeline_task_delete": "",
    "pipeline_pipelinerun_changelist": "OArBS",
    "pipeline_pipelinerun_add": "",
    "pipeline_pipelinerun_again": "BS",
    "pipeline_pipelinerun_beside": "OArBS",
    "pipeline_pipelinerun_change": "OArBS",
    "pipeline_pipelinerun_export": "OArBS",
    "pipeline_pipelinerun_history": "OArBS",
    "pipeline_pipelinerun_delete": "",
    "pipeline_textsread_changelist": "S",
    "pipeline_textsread_add": "",
    "pipeline_textsread_change": "S",
    "pipeline_textsread_history": "S",
    "pipeline_textsread_delete": "",
    "pipeline_casebookentry_changelist": "RrBS",
    "pipeline_casebookentry_add": "S",
    "pipeline_casebookentry_change": "RrBS",
    "pipeline_casebookentry_history": "RrBS",
    "pipeline_casebookentry_delete": "BS",
    **{
        f"pipeline_{model}_{page}": "OBS"
        for model in ("playbookpage", "track", "scenario")
        for page in ("changelist", "add", "change", "history", "delete")
    },
    **{
        f"auth_{model}_{page}": "S"
        for model in ("user", "group")
        for page in ("changelist", "add", "change", "history")
    },
    "auth_user_password_change": "S",
    "auth_user_delete": "",
    "auth_group_delete": "S",
    "axes_accessattempt_changelist": "S",
    "axes_accessattempt_add": "",
    "axes_accessattempt_change": "S",
    "axes_accessattempt_history": "S",
    "axes_accessattempt_delete": "S",
    "procrastinate_procrastinatejob_changelist": "S",
    "procrastinate_procrastinatejob_add": "",
    "procrastinate_procrastinatejob_change": "S",
    "procrastinate_procrastinatejob_history": "S",
    "procrastinate_procrastinatejob_delete": "",
}
if not apps.is_installed("procrastinate.contrib.django"):
    PAGES = {name: who for name, who in PAGES.items() if not name.startswith("procrastinate_")}
POSTED = {  # not opened by a GET
    *("agents_agentmodelconfig_restore", "agents_agentmodelconfig_undo"),
    "pipeline_task_try_again",
}
WITHOUT_ROW = {
    "changelist",
    "changes",
    "add",
    "of",
    "state",
    "remove",
    "stop_all",
    "history_of",
    "export",
    "mine",
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
    for name in MIGRATIONS:
        for operation in import_module(f"observatory.migrations.{name}").Migration.operations:
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
        user.is_superuser = name == "S"
        user.save()
        user.groups.set(Group.objects.filter(name__in=groups))
        client = Client()
        client.force_login(user)
        return client

    def url(self, page: str) -> str:
        app, model, kind = page.split("_", 2)
        row = self.rows[f"{app}_{model}"]
        if kind == "export":
            return reverse(f"admin:{page}", args=["csv"])
        arguments: list[object] = [] if kind in WITHOUT_ROW else [row.pk]
        if kind == "restore":
            arguments.append(row.history.latest().history_id)
        if kind == "undo":
            arguments.append(row.version)
        query = "?agent_name=extraction" if kind in {"of", "remove", "history_of"} else ""
        return reverse(f"admin:{page}", args=arguments) + query

    def status(self, name: str, page: str) -> int:
        """Ask for a page, as a browser does, and take back what that changed."""
        with transaction.atomic():
            client, url = self.clients[name], self.url(page)
            response = client.post(url) if page in POSTED else client.get(url)
            transaction.set_rollback(True)
        return response.status_code
