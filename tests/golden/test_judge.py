"""The judge of golden answers: a useful answer passes, and each lack is named."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from django.test import SimpleTestCase

from tests.golden.judge import Expectations, missing_from

WANTED = Expectations(
    filled=("analysis", "steps.why", "draft"),
    at_least={"steps": 2},
    mentions=("switching cost",),
    shorter_than={"draft": 60},
)
USEFUL: dict[str, Any] = {
    "analysis": "Switching cost is what she says; owning a failure is what she fears.",
    "steps": [
        {"action": "Ask what went wrong last time.", "why": "It names the fear."},
        {"action": "Offer a parallel close.", "why": "Nothing is switched off."},
    ],
    "draft": "What would make you regret starting this?",
}


def changed(**fields: Any) -> dict[str, Any]:
    return {**deepcopy(USEFUL), **fields}


class JudgeTests(SimpleTestCase):
    def test_a_useful_answer_lacks_nothing(self):
        assert missing_from(USEFUL, WANTED) == []

    def test_each_lack_is_named_alone(self):
        no_reason = [{"action": "Ask.", "why": "To learn."}, {"action": "Wait.", "why": " "}]
        poor = {
            "analysis is empty": changed(analysis="", strategy="Switching cost first."),
            "steps.why is empty": changed(steps=no_reason),
            "steps has 1 of at least 2 entries": changed(steps=USEFUL["steps"][:1]),
            "'switching cost' is nowhere mentioned": changed(analysis="She hesitates."),
            "draft has 60 characters instead of fewer than 60": changed(draft="x" * 60),
        }

        for lack, answer in poor.items():
            with self.subTest(lack):
                assert missing_from(answer, WANTED) == [lack]

    def test_an_absent_field_and_an_entry_without_it_are_empty(self):
        without_draft = {key: value for key, value in USEFUL.items() if key != "draft"}
        without_why = changed(steps=[{"action": "Ask."}, {"action": "Wait."}])

        assert missing_from(without_draft, WANTED) == ["draft is empty"]
        assert missing_from(without_why, WANTED) == ["steps.why is empty"]

    def test_blank_entries_do_not_count(self):
        wanted = Expectations(at_least={"risks": 2})

        lacks = missing_from({"risks": ["It may slip.", " ", ""]}, wanted)

        assert lacks == ["risks has 1 of at least 2 entries"]

    def test_a_list_without_entries_is_not_filled(self):
        for path in ("steps", "steps.why"):
            with self.subTest(path):
                lacks = missing_from({"steps": []}, Expectations(filled=(path,)))
                assert lacks == [f"{path} is empty"]

    def test_a_word_is_sought_in_texts_and_not_in_field_names_or_inside_words(self):
        answer = {"price": "Their enterprise rollout", "steps": [{"action": "Call the CFO"}]}

        lacks = missing_from(answer, Expectations(mentions=("price", "cfo")))

        assert lacks == ["'price' is nowhere mentioned"]

    def test_an_expectation_that_nothing_checks_is_refused(self):
        with pytest.raises(TypeError, match="mention"):
            Expectations.from_payload({"mention": ["bank"]})
