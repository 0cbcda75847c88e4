"""The example content: there at once, and never in the operator's way."""

from __future__ import annotations

from django.test import TestCase

from pipeline.example_content import load_example_content, load_sandbox_members
from pipeline.models import Member, PlaybookPage, Scenario
from pipeline.models.members import Access


class ExampleContentTest(TestCase):
    def test_pages_and_scenarios_are_created_once(self):
        assert load_example_content() == PlaybookPage.objects.count() + Scenario.objects.count() > 0
        assert load_example_content() == 0
        assert [page.position for page in PlaybookPage.objects.all()] == [1, 2, 3, 4]
        assert not PlaybookPage.objects.filter(text__startswith="#", title__startswith="#").exists()

    def test_what_an_operator_edited_stays(self):
        load_example_content()
        PlaybookPage.objects.filter(position=1).update(text="Ours.", is_active=False)

        load_example_content()

        page = PlaybookPage.objects.get(position=1)
        assert (page.text, page.is_active) == ("Ours.", False)

    def test_maya_has_a_key_of_her_own_tom_has_none_and_noor_is_unknown(self):
        assert load_sandbox_members() == 2

        maya, tom = Member.objects.order_by("telegram_id")
        assert maya.access == tom.access == Access.APPROVED
        assert maya.api_key is not None
        assert maya.api_key.reveal() == "sk-or-v1-sandbox-maya-key-0002"
        assert tom.api_key is None

    def test_a_member_who_was_blocked_stays_blocked(self):
        load_sandbox_members()
        Member.objects.filter(telegram_id=1001).update(access=Access.BLOCKED)

        assert load_sandbox_members() == 0
        assert Member.objects.get(telegram_id=1001).access == Access.BLOCKED
