"""The golden prospects themselves: what they expect can be met, and can be missed."""

from __future__ import annotations

from django.test import SimpleTestCase

from agents.registry import default_registry
from tests.golden.judge import Expectations, missing_from
from tests.golden.prospects import GoldenProspect, golden_prospects

# Models that answer by rote, the sandbox's among them, quote the beginning of a message only.
QUOTED_CHARACTERS = 120


class GoldenProspectTests(SimpleTestCase):
    def test_there_are_five_with_names_of_their_own(self):
        names = {prospect.name for prospect in golden_prospects()}

        assert len(names) == len(golden_prospects()) == 5

    def test_each_expects_something_of_extraction_and_strategist(self):
        for prospect in golden_prospects():
            assert set(prospect.expectations) == {"extraction", "strategist"}, prospect.name

    def test_expected_words_stand_in_the_beginning_of_the_message(self):
        for prospect, agent, wanted in expectations():
            with self.subTest(f"{prospect.name}: {agent}"):
                beginning = " ".join(prospect.message.split())[:QUOTED_CHARACTERS]
                assert wanted.mentions
                assert (
                    missing_from({"text": beginning}, Expectations(mentions=wanted.mentions)) == []
                )

    def test_expected_paths_are_fields_of_the_agents_answer(self):
        for prospect, agent, wanted in expectations():
            fields = default_registry().get(agent).answer_model.model_fields
            for path in wanted.paths:
                with self.subTest(f"{prospect.name}: {agent}: {path}"):
                    assert path.partition(".")[0] in fields

    def test_an_empty_answer_fails_all_of_them(self):
        for prospect, agent, wanted in expectations():
            with self.subTest(f"{prospect.name}: {agent}"):
                lacks = missing_from({}, wanted)
                assert len(lacks) >= len(wanted.filled) + len(wanted.at_least)

    def test_an_answer_about_somebody_else_fails_all_of_them(self):
        other = {"summary": "A pleasant chat about the weather.", "draft": "Hello!"}

        for prospect, agent, wanted in expectations():
            with self.subTest(f"{prospect.name}: {agent}"):
                assert any("nowhere mentioned" in lack for lack in missing_from(other, wanted))


def expectations() -> list[tuple[GoldenProspect, str, Expectations]]:
    return [
        (prospect, agent, wanted)
        for prospect in golden_prospects()
        for agent, wanted in prospect.expectations.items()
    ]
