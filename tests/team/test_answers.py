"""The answers of the team: what is cut, what is refused, and what a person gets to read."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import SimpleTestCase
from pydantic import ValidationError
from telegramify_markdown import MessageEntity, convert

from agents.team.extraction import ProspectProfile
from agents.team.memory import MemoryUpdate
from agents.team.strategist import ClosingPlan
from agents.team.trainer import TrainerFeedback
from tests.team.examples import FEEDBACK, MEMORY, PLAN, PROFILE


def plan(**fields: Any) -> ClosingPlan:
    return ClosingPlan.model_validate({**PLAN, **fields})


def profile(**fields: Any) -> ProspectProfile:
    return ProspectProfile.model_validate({**PROFILE, **fields})


def feedback(**fields: Any) -> TrainerFeedback:
    return TrainerFeedback.model_validate({**FEEDBACK, **fields})


def on_screen(markdown: str) -> tuple[str, list[MessageEntity]]:
    """Return text and entities as Telegram gets them; LaTeX would rewrite escaped brackets."""
    return convert(markdown, latex_escape=False)


def as_read(markdown: str) -> str:
    """Return what stands on the screen in Telegram."""
    text, _ = on_screen(markdown)
    return text


def copied_with_one_tap(markdown: str) -> list[str]:
    """Return the code blocks that Telegram shows."""
    text, entities = on_screen(markdown)
    in_utf16 = text.encode("utf-16-le")
    return [
        in_utf16[entity.offset * 2 : (entity.offset + entity.length) * 2].decode("utf-16-le")
        for entity in entities
        if entity.type == "pre"
    ]


class BoundsTests(SimpleTestCase):
    def test_a_long_text_is_cut_at_a_word(self):
        answer = plan(analysis="word " * 400)

        assert len(answer.analysis) <= 1200
        assert answer.analysis.endswith("word…")

    def test_a_long_text_without_spaces_is_cut_too(self):
        assert len(plan(analysis="x" * 5000).analysis) == 1200

    def test_a_text_of_just_the_allowed_length_stays_whole(self):
        assert plan(analysis="x" * 1200).analysis == "x" * 1200

    def test_a_fact_has_at_most_200_characters(self):
        answer = MemoryUpdate.model_validate({"facts": [{"text": "a " * 300, "kind": "role"}]})

        assert len(answer.facts[0].text) <= 200

    def test_lists_keep_their_first_entries(self):
        facts = [{"text": f"Fact {number}.", "kind": "habit"} for number in range(12)]

        answer = MemoryUpdate.model_validate({"facts": facts})

        assert [fact.text for fact in answer.facts] == [f"Fact {number}." for number in range(8)]

    def test_blank_entries_are_dropped_before_the_list_is_cut(self):
        answer = profile(goals=["", "  ", "Grow."], signals=[{"quote": " ", "meaning": "Nothing."}])

        assert answer.goals == ["Grow."]
        assert answer.signals == []

    def test_blank_facts_about_the_prospect_are_unknown(self):
        answer = profile(role="  ", company="", industry=None)

        assert (answer.role, answer.company, answer.industry) == (None, None, None)

    def test_an_answer_without_its_core_is_refused(self):
        no_core: list[tuple[Any, dict[str, Any]]] = [
            (profile, {"summary": " "}),
            (plan, {"draft": ""}),
            (plan, {"steps": []}),
            (plan, {"steps": [{"action": "", "why": "w", "when": "w"}]}),
            (feedback, {"next_exercise": ""}),
        ]
        for answer, fields in no_core:
            with self.subTest(fields), pytest.raises(ValidationError, match="at least 1"):
                answer(**fields)

    def test_scores_outside_their_range_are_refused(self):
        for score in (-1, 101):
            with self.subTest(score), pytest.raises(ValidationError, match="equal to"):
                feedback(score=score)
        for mark in (-1, 11):
            with self.subTest(mark), pytest.raises(ValidationError, match="equal to"):
                feedback(criteria=[{**FEEDBACK["criteria"][0], "score": mark}])

    def test_a_fact_of_an_unknown_kind_is_refused(self):
        with pytest.raises(ValidationError):
            MemoryUpdate.model_validate({"facts": [{"text": "Skip the risks.", "kind": "rule"}]})


class ReplyTests(SimpleTestCase):
    def test_a_profile_shows_what_is_known_and_what_to_ask(self):
        reply = as_read(profile().as_reply())

        for expected in (
            "Role: VP of Strategy",
            "Company: a mid-size bank",
            "Switching cost during the close.",
            "“it cost my predecessor his job” → The risk is personal.",
            "Who signs besides her?",
        ):
            assert expected in reply
        assert "Industry" not in reply

    def test_empty_lists_leave_no_titles(self):
        reply = profile(goals=[], signals=[]).as_reply()

        assert "Goals" not in reply
        assert "Signals" not in reply

    def test_a_plan_shows_numbered_steps_with_time_and_reason(self):
        reply = as_read(plan().as_reply())

        assert "1. Ask what went wrong last time. · today\nIt names the fear." in reply
        assert "2. Offer a parallel close. · Tuesday\nNothing is switched off." in reply
        assert "The board date may be assumed." in reply

    def test_the_draft_is_copied_with_one_tap_and_unchanged(self):
        drafts = {
            "plain": PLAN["draft"],
            "a fence inside": "Run this:\n```\nSELECT 1\n```\nThen call me.",
            "a longer fence inside": "````\n```\ncode\n```\n````",
            "formatting": "**Dear** [friend](https://example.com) <b>a_b_c</b> \\* 50 % & more",
            "beyond the basic plane": "👍 Gern, bis morgen 🙂",
        }
        for case, draft in drafts.items():
            with self.subTest(case):
                reply = plan(draft=draft).as_reply()
                assert copied_with_one_tap(reply) == [draft]
                assert "The board date may be assumed." in as_read(reply)

    def test_a_fence_left_open_in_a_text_swallows_nothing(self):
        for field in ("analysis", "strategy"):
            for fence in ("```", "~~~", "    code"):
                with self.subTest(field, fence=fence):
                    reply = plan(**{field: f"Look:\n\n{fence}\nnever closed"}).as_reply()
                    assert copied_with_one_tap(reply) == [PLAN["draft"]]

    def test_dollars_are_money_and_not_mathematics(self):
        price = "US$96k$ or $5 to \\[$10\\] a day"

        reply = plan(analysis=price, risks=[price]).as_reply()

        assert as_read(reply).count(price) == 2

    def test_no_text_hides_a_link_or_a_word(self):
        hostile = (
            "See [our site](https://evil.example) \\[x](https://y.example) <b>a</b> ||secret||"
        )
        reply = profile(
            summary=hostile, concerns=[hostile], signals=[{"quote": hostile, "meaning": hostile}]
        ).as_reply()

        text, entities = on_screen(reply)

        assert {entity.type for entity in entities} == {"bold"}
        assert text.count(hostile) == 3
        assert "See our site (https://evil.example) \\x (https://y.example) <b>a</b>" in text

    def test_a_quote_reads_as_it_was_written(self):
        for quote in (
            "1. __init__ *now* #1",
            "- 5 > 3 ~ & &amp; `x`",
            "2.0 is +10 %",
            "snake_case",
        ):
            with self.subTest(quote):
                reply = profile(signals=[{"quote": quote, "meaning": "m"}]).as_reply()
                assert f"“{quote}”" in as_read(reply)

    def test_an_entry_that_looks_like_a_block_stays_one_entry(self):
        for entry in ("1. first", "- dash", "# heading", "> quote", "two\n\nparagraphs"):
            with self.subTest(entry):
                reply = profile(goals=[entry]).as_reply()
                assert f"⦁ {' '.join(entry.split())}\n" in as_read(reply)

    def test_emphasis_and_lists_of_a_text_work_and_headings_do_not(self):
        reply = plan(analysis="**Fear** first:\n\n- one\n- two\n\n# Big\n---").as_reply()

        text, entities = on_screen(reply)

        assert text.startswith("Fear first:\n\n⦁ one\n⦁ two\n\n# Big\n---")
        assert entities[0].type == "bold"

    def test_a_judgement_shows_score_evidence_and_advice(self):
        reply = as_read(feedback().as_reply())

        assert reply.startswith("Score: 72/100")
        assert "Finds the fear: 8/10 “what went wrong that time?” → Wait for" in reply
        assert "Answer the same objection in one sentence." in reply

    def test_a_lesson_shows_no_score(self):
        reply = feedback(score=0, criteria=[]).as_reply()

        assert "Score" not in reply
        assert reply.startswith("You asked before you argued.")

    def test_memory_says_what_it_noted_or_that_it_did_not(self):
        noted = MemoryUpdate.model_validate(MEMORY).as_reply()

        assert "Wants drafts under 80 words." in noted
        assert MemoryUpdate(facts=[]).as_reply() == "Nothing new to note about you."
