"""A member's case reaches other members' prompts only after an operator's yes."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace

from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client, TestCase, override_settings
from django.urls import reverse
from django.utils import timezone

from agents.base import Inputs
from pipeline.models import CasebookEntry, Member
from pipeline.running.briefing import brief
from pipeline.running.config import load_pipeline

CASES = "admin:pipeline_casebookentry_changelist"


def operator(name: str, *permissions: str) -> Client:
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def cases_told(member: Member | None) -> str:
    return brief(load_pipeline("support"), member, Inputs(), model_config=None).casebook_text


@override_settings(SECURE_SSL_REDIRECT=False)
class CaseTest(TestCase):
    def setUp(self):
        self.maya = Member.objects.create(telegram_id=1)
        self.tom = Member.objects.create(telegram_id=2)

    def saved(self, title: str, member: Member | None = None, **fields) -> CasebookEntry:
        return CasebookEntry.objects.create(
            title=title, text="What held it up", member=member or self.maya, **fields
        )


class WhoReadsTests(CaseTest):
    def test_a_case_is_its_members_alone_until_it_is_approved(self):
        case = self.saved("A bank")

        assert "A bank" in cases_told(self.maya)
        assert cases_told(self.tom) == cases_told(None) == ""

        CasebookEntry.objects.filter(pk=case.pk).update(is_approved=True)
        assert all("A bank" in cases_told(member) for member in (self.maya, self.tom, None))

    def test_a_case_out_of_use_is_not_even_its_members(self):
        self.saved("A bank", is_active=False)
        self.saved("A shop", is_active=False, is_approved=True)

        assert cases_told(self.maya) == cases_told(self.tom) == ""

    def test_many_unapproved_cases_of_others_push_out_none(self):
        self.saved("A bank", self.tom, is_approved=True)
        for number in range(20):
            self.saved(f"Case {number}")

        assert cases_told(self.tom).startswith("## A bank")

    def test_code_that_knows_no_approval_can_still_save_a_case(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO pipeline_casebookentry (title, text, is_active, member_id, created_at)"
                " VALUES (%s, %s, %s, %s, %s)",
                ["An old one", "Text", True, self.maya.pk, timezone.now()],
            )

        assert "An old one" in cases_told(self.maya)
        assert cases_told(self.tom) == ""

    def test_the_migration_approves_what_operators_wrote_and_nothing_of_members(self):
        self.saved("A bank")
        CasebookEntry.objects.create(title="Ours", text="Text")

        migration = import_module("pipeline.migrations.0012_approved_cases")
        migration.approve_what_operators_wrote(apps, SimpleNamespace(connection=connection))

        assert [case.title for case in CasebookEntry.objects.filter(is_approved=True)] == ["Ours"]


class ApprovalTests(CaseTest):
    MAY = ("view_casebookentry", "change_casebookentry", "view_texts")

    def approve(self, client: Client, *cases: CasebookEntry) -> int:
        chosen = [case.pk for case in cases]
        data = {"action": "approve_selected", "_selected_action": chosen}
        return client.post(reverse(CASES), data).status_code

    def test_approving_leaves_one_entry_a_case_and_none_for_what_was_approved_before(self):
        first, second = self.saved("A bank"), self.saved("A shop")
        before = self.saved("A farm", is_approved=True)

        assert self.approve(operator("ana", *self.MAY), first, second, before) == 302

        assert CasebookEntry.objects.filter(is_approved=True).count() == 3
        logged = LogEntry.objects.filter(user__username="ana")
        assert {entry.object_id for entry in logged} == {str(first.pk), str(second.pk)}
        assert {entry.get_change_message() for entry in logged} == {"Approved for everyone."}

    def test_it_takes_the_right_to_change_cases_and_to_read_them(self):
        case = self.saved("A bank")
        for number, missing in enumerate(self.MAY[1:]):
            client = operator(f"user{number}", *(set(self.MAY) - {missing}))
            with self.subTest(missing):
                self.approve(client, case)

                assert not CasebookEntry.objects.filter(is_approved=True).exists()
        assert not LogEntry.objects.exists()

    def test_the_list_shows_what_waits(self):
        self.saved("Waits for a yes")
        self.saved("Was approved", is_approved=True)
        self.saved("Was put aside", is_active=False)
        client = operator("ana", *self.MAY)

        page = client.get(reverse(CASES), {"approval": "waiting"}).content.decode()
        approved = client.get(reverse(CASES), {"approval": "approved"}).content.decode()

        assert "Waits for a yes" in page
        assert "Was approved" not in page
        assert "Was put aside" not in page
        assert "Was approved" in approved
        assert "Waits for a yes" not in approved
