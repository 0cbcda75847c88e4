"""What members read about models: which one, why, and who pays, rendered from a step's columns."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from django.test import SimpleTestCase, TestCase, override_settings
from django.utils import timezone

from agents.llm.base import Payer
from agents.llm.completion import CostSource
from agents.models import CatalogModel
from pipeline.journal.facts import ModelChoice
from pipeline.journal.sentences import member_account, member_sentence
from pipeline.models import LLMCall, PipelineRun, StepRun
from pipeline.models.runs import CallStatus, DecisionSource, RunStatus, Source, StepStatus
from pipeline.people.conversation import reasons, todays_models

SONNET, MINI = "anthropic/claude-sonnet-4.5", "openai/gpt-5-mini"
NAMES = {SONNET: "Claude Sonnet 4.5", MINI: "GPT-5 mini"}
TODAY = date(2026, 11, 29)
SET_AT = datetime(2026, 11, 28, 12, 3, tzinfo=UTC)

CHOSEN = ModelChoice(
    provider="openrouter",
    requested_model=SONNET,
    payer=Payer.SHARED,
    decision_source=DecisionSource.OVERRIDE,
    override_version=3,
    said_version=3,
    set_by="olga",
    set_at=SET_AT,
    snapshot_version="v3·a1b3",
    snapshot_age_ms=200,
)
TEAM_DEFAULT = replace(
    CHOSEN,
    requested_model=MINI,
    decision_source=DecisionSource.DEFAULT,
    override_version=None,
    said_version=None,
    set_by="",
    set_at=None,
)
OWN_DEFAULT = replace(TEAM_DEFAULT, payer=Payer.MEMBER)
NO_SHARED_KEY = replace(
    CHOSEN,
    requested_model=MINI,
    payer=Payer.MEMBER,
    decision_source=DecisionSource.NO_SHARED_KEY,
    override_version=None,
)
GIVEN = replace(
    OWN_DEFAULT, decision_source=DecisionSource.GIVEN, given_because="olga tried it out"
)
# By source: the choice, the reason that a member reads, and who pays.
SAID: list[tuple[ModelChoice, str, str]] = [
    (CHOSEN, "Your team's admin chose it on 28 Nov.", "The team"),
    (replace(CHOSEN, set_at=None), "Your team's admin chose it.", "The team"),
    (replace(CHOSEN, is_outside_change=True), "It was set outside the admin.", "The team"),
    (TEAM_DEFAULT, "It's the team's default model.", "The team"),
    (OWN_DEFAULT, "It's your default model.", "Your OpenRouter key"),
    (replace(OWN_DEFAULT, provider="openai"), "It's your default model.", "Your OpenAI key"),
    (
        replace(TEAM_DEFAULT, is_outside_change=True),
        "It's the team's default model: the one chosen before was removed outside the admin.",
        "The team",
    ),
    (
        NO_SHARED_KEY,
        "It's your default model: your team's admin chose another one on 28 Nov, but there's no "
        "team key to pay for it.",
        "Your OpenRouter key",
    ),
    (
        replace(NO_SHARED_KEY, is_outside_change=True),
        "It's your default model: another one was set outside the admin, but there's no team key "
        "to pay for it.",
        "Your OpenRouter key",
    ),
    (GIVEN, "It was chosen for this run.", "Your OpenRouter key"),
]


def step_of(choice: ModelChoice, **changes: Any) -> StepRun:
    """Return a step, not saved, that ended on this choice."""
    columns = {name: getattr(choice, name) for name in ModelChoice.__dataclass_fields__}
    return StepRun(**{"agent": "strategist", "has_called": True, **columns, **changes})


class SentenceTests(SimpleTestCase):
    def test_what_would_run_is_told_for_every_source(self):
        for choice, reason, payer in SAID:
            with self.subTest(reason):
                said = member_sentence(choice, "strategist", today=TODAY, names=NAMES)
                model = NAMES[choice.requested_model]
                assert said == f"Your strategist runs on {model}. {reason} {payer} pays."

    def test_what_ran_is_told_for_every_source_with_what_it_cost(self):
        for choice, reason, payer in SAID:
            with self.subTest(reason):
                said = member_account(
                    step_of(choice), today=TODAY, names=NAMES, cost_usd=Decimal("0.012681")
                )
                model = NAMES[choice.requested_model]
                assert said == f"Your strategist ran on {model}. {reason} {payer} paid $0.01268."

    def test_no_source_is_left_out(self):
        assert {choice.decision_source for choice, *_ in SAID} == set(DecisionSource)

    def test_neither_an_operators_name_nor_a_version_is_told(self):
        for choice, *_ in SAID:
            said = member_sentence(choice, "strategist", today=TODAY, names=NAMES)
            assert not any(word in said for word in ("olga", "v3", "snapshot", "override")), said

    def test_a_model_that_failed_is_told_with_the_one_that_answered(self):
        said = member_account(step_of(CHOSEN, fell_back_to=MINI), today=TODAY, names=NAMES)
        assert said.endswith("That model failed, so GPT-5 mini answered instead. The team paid.")

    def test_a_step_that_made_no_call_was_paid_by_nobody(self):
        said = member_account(step_of(CHOSEN, has_called=False), today=TODAY, names=NAMES)
        assert said.startswith("Your strategist was going to run on Claude Sonnet 4.5. ")
        assert said.endswith("It made no call, so nothing was paid.")

    def test_a_day_of_another_year_has_its_year_and_is_the_one_where_the_team_is(self):
        new_years_eve = replace(CHOSEN, set_at=datetime(2025, 12, 31, 23, 30, tzinfo=UTC))
        for zone, day in [("UTC", "31 Dec 2025"), ("Europe/Berlin", "1 Jan")]:
            with override_settings(TIME_ZONE=zone), timezone.override(zone):
                assert f"on {day}." in member_sentence(new_years_eve, "strategist", today=TODAY)

    def test_costs_have_four_digits_below_a_dollar_and_two_decimals_above(self):
        for cost, words in [("0.0000123456", "$0.00001235"), ("0", "$0"), ("1234.5", "$1,234.50")]:
            said = member_account(step_of(CHOSEN), today=TODAY, cost_usd=Decimal(cost))
            assert said.endswith(f"The team paid {words}.")

    def test_a_model_without_a_name_is_called_by_its_id_and_an_agent_without_underscores(self):
        said = member_sentence(CHOSEN, "deal_coach", today=TODAY)
        assert said.startswith(f"Your deal coach runs on {SONNET}. ")


class WhyTests(TestCase):
    def setUp(self):
        now = timezone.now()
        CatalogModel.objects.create(
            model_id=SONNET,
            name="Anthropic: Claude Sonnet 4.5",
            first_seen_at=now,
            last_seen_at=now,
        )
        self.run_row = PipelineRun.objects.create(
            pipeline="support", source=Source.TELEGRAM, status=RunStatus.OK, started_at=now
        )

    def why(self) -> list[str]:
        return reasons(self.run_row, today=TODAY).splitlines()[1:]

    def add_step(self, choice: ModelChoice, **changes: Any) -> StepRun:
        position = self.run_row.steps.count()
        ended = {"status": StepStatus.OK, "started_at": timezone.now(), "mode": "sequential"}
        step = step_of(choice, run=self.run_row, position=position, **{**ended, **changes})
        step.save()
        return step

    def test_each_step_is_told_by_the_names_of_models_and_what_its_calls_cost(self):
        step = self.add_step(CHOSEN, fell_back_to=MINI)
        self.add_step(OWN_DEFAULT, agent="extraction", provider="claude")
        for number, cost in enumerate(["0.01", "0.002681", None]):
            LLMCall.objects.create(
                step=step,
                number=number,
                status=CallStatus.OK,
                provider="openrouter",
                requested_model=SONNET,
                payer=Payer.SHARED,
                cost_usd=cost,
                cost_source=CostSource.REPORTED if cost else CostSource.UNKNOWN,
                started_at=timezone.now(),
            )

        assert self.why() == [
            "• Your strategist ran on Claude Sonnet 4.5. Your team's admin chose it on 28 Nov. "
            f"That model failed, so {MINI} answered instead. The team paid $0.01268.",
            f"• Your extraction ran on {MINI}. It's your default model. Your Claude key paid.",
        ]

    def test_another_providers_model_is_not_looked_up_in_openrouters_list(self):
        self.add_step(CHOSEN, provider="compatible", fell_back_to=SONNET)
        (line,) = self.why()
        assert f"ran on {SONNET}." in line
        assert f"so {SONNET} answered" in line

    def test_a_step_of_an_old_release_is_told_by_what_its_sentence_says_or_by_the_sentence(self):
        old = {
            "decision_source": "",
            "said_version": None,
            "set_by": "",
            "set_at": None,
            "has_called": None,
        }
        read = (
            f"ran {SONNET} because override v3 by olga on 2026-11-28 12:03 UTC; shared key; "
            "snapshot v3·a1b3 0.2 s old"
        )
        self.add_step(CHOSEN, decision=read, **old)
        self.add_step(CHOSEN, decision="ran it for a reason of its time", **old)

        assert self.why() == [
            "• Your strategist ran on Claude Sonnet 4.5. Your team's admin chose it on 28 Nov. "
            "The team paid.",
            "• strategist ran it for a reason of its time",
        ]

    def test_what_would_run_has_the_names_of_models_too(self):
        said = todays_models({"strategist": CHOSEN, "memory": OWN_DEFAULT}, today=TODAY)
        assert said == {
            "strategist": "Your strategist runs on Claude Sonnet 4.5. Your team's admin chose it "
            "on 28 Nov. The team pays.",
            "memory": f"Your memory runs on {MINI}. It's your default model. Your OpenRouter key "
            "pays.",
        }
