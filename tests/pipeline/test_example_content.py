"""The example content: there at once, and never in the operator's way."""

from __future__ import annotations

from django.test import TestCase

from pipeline.models import Lesson, Member, PlaybookPage, Scenario, Track
from pipeline.models.members import Access
from pipeline.school.example_content import load_example_content, load_sandbox_members


class ExampleContentTest(TestCase):
    def test_pages_and_scenarios_are_created_once(self):
        created = load_example_content()

        parts = (PlaybookPage, Scenario, Track)
        assert created == sum(model.objects.count() for model in parts)
        assert load_example_content() == 0
        assert [Scenario.objects.filter(difficulty=d).count() >= 6 for d in (1, 2, 3)] == [True] * 3
        assert Scenario.objects.count() == 20
        levels = [list(t.lessons.values_list("level", flat=True)) for t in Track.objects.all()]
        assert levels == [[1, 2, 3, 4]] * 2
        assert [page.position for page in PlaybookPage.objects.all()] == [1, 2, 3, 4]
        assert not PlaybookPage.objects.filter(text__startswith="#", title__startswith="#").exists()

    def test_every_lesson_and_scenario_fits_a_message(self):
        load_example_content()

        for lesson in Lesson.objects.select_related("track"):
            shown = len(f"{lesson.track}{lesson.title}{lesson.text}{lesson.task}")
            assert shown < 3_800, lesson
            assert lesson.good_answer
        assert not Scenario.objects.filter(good_answer="").exists()

    def test_what_an_operator_edited_stays(self):
        load_example_content()
        Lesson.objects.update(text="Ours.")
        PlaybookPage.objects.filter(position=1).update(text="Ours.", is_active=False)

        load_example_content()

        page = PlaybookPage.objects.get(position=1)
        assert (page.text, page.is_active) == ("Ours.", False)
        assert not Lesson.objects.exclude(text="Ours.").exists()

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
