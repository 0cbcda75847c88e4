"""Columns of old steps are filled from their sentences, and only where they say the very same."""

from __future__ import annotations

import random
import re
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

from asgiref.sync import async_to_sync
from django.test import SimpleTestCase, TestCase, override_settings
from django.utils import timezone

from agents.llm.base import Payer
from agents.llm.router import create_provider, create_shared_provider
from agents.model_config import Freshness, Resolution
from agents.snapshot import Override
from pipeline.journal.facts import ModelChoice
from pipeline.journal.old_sentences import columns_of
from pipeline.journal.sentences import sentence
from pipeline.models import LLMCall, StepRun
from pipeline.models.inbox import Buttons
from pipeline.operations import old_decisions, periodic_jobs
from pipeline.running.decisions import decided, given
from tests.pipeline.recorded import a_run

STATES = 1_000
SET_AT = datetime(2026, 11, 24, 12, 3, tzinfo=UTC)


async def told(text: str, buttons: Buttons = (), *, is_news: bool = False) -> bool:
    return True


def choices(seed: int) -> list[ModelChoice]:
    """Return decisions in random states."""
    chance, made = random.Random(seed), []
    member = create_provider("claude", "sk-ant-a-key-for-the-test", "claude-haiku-4-5")
    shared = create_shared_provider("sk-or-v1-a-key-for-the-test", "openai/gpt-5-mini")
    for _ in range(STATES):
        override = Override(
            agent_name="strategist",
            model_id="x/y",
            on_failure="fail",
            set_by=chance.choice(("olga", "o. on 2026-11-24", "")),
            set_at=SET_AT,
            version=chance.randrange(1, 99),
            is_outside=chance.random() < 0.3,
        )
        override_or_none = chance.choice((override, override, None))
        has_key = override_or_none is not None and chance.random() < 0.7
        seen = Resolution(
            override=override_or_none,
            provider=shared if has_key else None,
            freshness=Freshness(
                version="v41·3fa9",
                age_s=chance.random() * 60,
                is_stale=chance.random() < 0.2,
            ),
            was_removed_outside=override_or_none is None and chance.random() < 0.3,
        )
        default = chance.choice((member, shared))
        decision = decided(seen, default)
        if chance.random() < 0.1:
            decision = given(default, "olga tried it out")
        made.append(decision.choice)
    return made


def step_of(choice: ModelChoice, said: str) -> StepRun:
    """Return a step as it was written before there were columns."""
    known = (
        *("provider", "requested_model", "payer", "override_version"),
        *("snapshot_version", "snapshot_age_ms", "is_stale"),
    )
    return StepRun(decision=said, **{name: getattr(choice, name) for name in known})


@override_settings(SHARED_SERVER="openrouter")
class RenderingTests(SimpleTestCase):
    def test_the_columns_that_are_read_from_a_sentence_render_to_it_in_any_state(self):
        chance, wrong = random.Random(1), []
        for choice in choices(seed=1):
            has_called = chance.random() < 0.8
            fell_back_to = chance.choice(("", "openai/gpt-5-mini"))
            said = sentence(choice, has_called=has_called, fell_back_to=fell_back_to)
            step = step_of(choice, said)
            found = columns_of(step)
            for name, value in found.items():
                setattr(step, name, value)
            again = sentence(step, has_called=has_called, fell_back_to=fell_back_to)
            again, said = (re.sub(r"[\d.]+ s old", "", one) for one in (again, said))
            is_right = (again, step.decision_source, step.set_by, step.has_called) == (
                *(said, choice.decision_source, choice.set_by, has_called),
            )
            wrong += [] if is_right else [(said, again)]

        assert not wrong

    def test_a_sentence_that_says_anything_else_is_left_alone(self):
        for words in (
            "",
            "ran x/y",
            "ran x/y because the moon is full; the team pays",
            "ran x/y because no override is set; shared key; snapshot v1·a1b3 0.9 s old",
        ):
            step = StepRun(
                decision=words, requested_model="x/y", payer=Payer.SHARED, snapshot_age_ms=12
            )
            assert columns_of(step) == {}

    def test_a_decision_has_a_column_for_each_of_its_facts(self):
        columns = {field.attname for field in StepRun._meta.concrete_fields}

        assert {fact.name for fact in fields(ModelChoice)} <= columns


class FillingTests(TestCase):
    def test_batches_go_on_from_where_the_last_one_ended_until_all_are_seen(self):
        choice = given(
            create_shared_provider("sk-or-v1-a-key-for-the-test", "a/b"), "olga tried it out"
        ).choice
        said = sentence(choice)
        now = timezone.now()
        for number in range(5):
            a_run(
                {
                    "decision": said,
                    "requested_model": "a/b",
                    "payer": "shared",
                    "started_at": now - timedelta(hours=number),
                    "error": "ModelUnavailable: gone",
                }
            )
        a_run({"decision": "something else entirely"}, hours_ago=2)
        LLMCall.objects.update(error="RateLimited: slow down")
        self.enterContext(patch.object(old_decisions, "BATCH", 2))

        turns, before = 1, old_decisions.fill(None, None)
        while before is not None:
            turns, before = turns + 1, old_decisions.fill(before, None)

        filled = StepRun.objects.filter(decision_source="given", error_type="ModelUnavailable")
        assert (filled.count(), turns) == (5, 4)
        assert set(StepRun.objects.values_list("decision", flat=True)) == {
            said,
            "something else entirely",
        }
        assert set(LLMCall.objects.values_list("error_type", flat=True)) == {"RateLimited"}

    def test_the_job_rests_between_passes_and_then_looks_at_what_came_since(self):
        (spec,) = (spec for spec in periodic_jobs.JOBS if spec.name == periodic_jobs.OLD_DECISIONS)
        now, do = timezone.now(), async_to_sync(periodic_jobs.run_if_due)
        said = {"decision": "ran a/b because no override is set; shared key; snapshot v1 0.0 s old"}
        step = said | {"requested_model": "a/b", "snapshot_version": "v1"}
        do(spec, now, told)
        a_run(step)

        filled = []
        for minutes in (1, 59, 61):
            do(spec, now + timedelta(minutes=minutes), told)
            filled.append(StepRun.objects.filter(decision_source="default").count())

        assert filled == [0, 0, 1]
