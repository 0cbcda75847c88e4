"""The storyline of the provider against the sandbox: what it says happened is what happened."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from decimal import Decimal
from typing import Any

import pytest
from django.test import SimpleTestCase, override_settings
from pydantic import BaseModel

from agents.llm import answers
from agents.llm.base import CostSource, LLMProvider, StepScope
from agents.llm.errors import (
    AnswerNotJson,
    AnswerUnusable,
    DeadlineExceeded,
    KeyRejected,
    LLMError,
    ModelUnavailable,
    NoCredit,
    ProviderUnavailable,
    RateLimited,
    RequestForbidden,
)
from agents.llm.keys import PlainKey
from agents.llm.openrouter import OpenRouterProvider
from agents.llm.router import create_provider
from agents.llm.tripwire import is_same_model
from tests.llm.calling import NO_WAIT, Recorder, everything_logged
from tests.sandbox.serving import running_sandbox

KEY = "sk-or-v1-llm-tests-team-key-0001"


class Advice(BaseModel):
    advice: str
    confidence: float


class AgainstTheSandbox(SimpleTestCase):
    base_url: str

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.base_url = cls.enterClassContext(running_sandbox())

    def setUp(self) -> None:
        self.seen_before = len(self.ledger())
        self.recorder = Recorder()

    def ledger(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.base_url}/ledger") as response:
            calls: list[dict[str, Any]] = json.load(response)["calls"]
            return calls

    def new_calls(self) -> list[dict[str, Any]]:
        return self.ledger()[self.seen_before :]

    def llm(self, model_id: str, **changes: Any) -> LLMProvider:
        scope = StepScope(
            agent="trainer",
            step_id="step-1",
            observer=self.recorder,
            deadline_s=changes.pop("deadline_s", 10.0),
        )
        values = {
            "api_key": PlainKey(KEY),
            "model_id": model_id,
            "base_url": f"{self.base_url}/openrouter/api/v1",
            "retries": NO_WAIT,
            "scope": scope,
            **changes,
        }
        return OpenRouterProvider(**values)

    def assert_the_records_are_true(self) -> None:
        calls = self.new_calls()
        attempts = [attempt for attempt, _ in self.recorder.ended]
        assert [call["call_id"] for call in calls] == [str(each.call_id) for each in attempts]
        assert [call["model"] for call in calls] == [each.requested_model for each in attempts]
        assert {(call["key"], call["agent"], call["step_id"]) for call in calls} == {
            (KEY, "trainer", "step-1")
        }
        known = [outcome.learnt.cost_usd for outcome in self.recorder.outcomes if outcome.learnt]
        assert sum(cost for cost in known if cost) == sum(Decimal(c["cost_usd"]) for c in calls)

    async def test_an_answer_is_what_the_ledger_says(self):
        completion = await self.llm("anthropic/claude-sonnet-4.5").complete("Be brief.", "Hello")

        (call,) = self.new_calls()
        assert completion.served_model == call["served_model"]
        assert completion.cost_usd == Decimal(call["cost_usd"])
        assert completion.usage.input_tokens == call["prompt_tokens"]
        self.assert_the_records_are_true()

    async def test_each_misbehaviour_ends_as_what_it_is(self):
        table: list[tuple[str, type[LLMError], int]] = [
            ("sandbox/error-500", ProviderUnavailable, 4),
            ("sandbox/error-in-200", ProviderUnavailable, 4),
            ("sandbox/error-body-200", ProviderUnavailable, 4),
            ("sandbox/no-credit", NoCredit, 1),
            ("sandbox/forbidden", RequestForbidden, 1),
            ("sandbox/retired", ModelUnavailable, 1),
            ("sandbox/there-is-no-such-model", ModelUnavailable, 1),
            ("sandbox/null-choices", AnswerUnusable, 1),
            ("sandbox/no-finish", AnswerUnusable, 1),
            ("sandbox/refusal", RequestForbidden, 1),
            ("sandbox/echo-key", KeyRejected, 1),
        ]
        for model_id, error_class, attempts in table:
            with self.subTest(model_id):
                self.setUp()
                with pytest.raises(error_class) as caught:
                    await self.llm(model_id).complete("s", "u")

                assert type(caught.value) is error_class
                assert (caught.value.provider, caught.value.model_id) == ("openrouter", model_id)
                assert len(self.recorder.ended) == attempts
                self.assert_the_records_are_true()

    async def test_a_busy_provider_is_waited_for_if_there_is_time(self):
        completion = await self.llm("sandbox/flaky-429").complete("s", "flaky")
        assert completion.text
        self.assert_the_records_are_true()

        with pytest.raises(RateLimited) as caught:
            await self.llm("sandbox/error-429", deadline_s=0.5).complete("s", "u")
        assert caught.value.retry_after_s == 1.0

    async def test_a_hanging_provider_is_left(self):
        with pytest.raises(DeadlineExceeded):
            await self.llm("sandbox/hang", deadline_s=0.2).complete("s", "u")

        (outcome,) = self.recorder.outcomes
        assert outcome.error is not None
        assert outcome.error.maybe_charged

    async def test_the_cost_is_the_one_that_was_billed(self):
        for model_id in ("sandbox/byok", "sandbox/no-cost"):
            with self.subTest(model_id):
                self.setUp()
                completion = await self.llm(model_id).complete("s", "u")

                assert completion.cost_source is CostSource.REPORTED
                self.assert_the_records_are_true()

    async def test_the_served_model_is_told_for_the_tripwire(self):
        for model_id, expected in (("sandbox/other-model", False), ("sandbox/dated", True)):
            with self.subTest(model_id):
                completion = await self.llm(model_id).complete("s", "u")

                assert is_same_model(model_id, completion.served_model) is expected

    async def test_a_retired_model_falls_back_on_the_same_key(self):
        llm = self.llm("sandbox/retired", fallback_model="openai/gpt-5-mini")
        completion = await llm.complete("s", "u")

        assert is_same_model("openai/gpt-5-mini", completion.served_model)
        assert [each.is_fallback for each in self.recorder.started] == [False, True]
        self.assert_the_records_are_true()

    async def test_json_by_schema_repaired_or_not_at_all(self):
        advised = await answers.ask_json(
            self.llm("anthropic/claude-sonnet-4.5"), "Advise.", "Hello", Advice
        )
        assert isinstance(advised.value, Advice)
        assert not advised.was_repaired

        repaired = await answers.ask_json(
            self.llm("sandbox/broken-json"), "Advise.", "Hello", Advice
        )
        assert repaired.was_repaired

        with pytest.raises(AnswerNotJson) as caught:
            await answers.ask_json(self.llm("sandbox/bad-json"), "Advise.", "Hello", Advice)
        assert caught.value.text.startswith("Sure!")
        self.assert_the_records_are_true()

    async def test_a_key_is_checked(self):
        await self.llm("a/b").validate_key()
        with pytest.raises(KeyRejected):
            await self.llm("a/b", api_key=PlainKey("sk-or-wrong-key")).validate_key()

        assert self.recorder.order == []

    async def test_an_echoed_key_shows_nowhere(self):
        with everything_logged() as logged, pytest.raises(KeyRejected) as caught:
            await self.llm("sandbox/echo-key").complete("s", "u")

        shown = f"{caught.value} {caught.value!r} {self.recorder.ended!r} {logged.getvalue()}"
        assert "No auth credentials found for [key hidden]" in shown
        assert KEY not in shown

    async def test_the_router_reaches_the_operators_address(self):
        with override_settings(OPENROUTER_BASE_URL=f"{self.base_url}/openrouter/api/v1"):
            completion = await create_provider("openrouter", KEY, "openai/gpt-5-mini").complete(
                "s", "u"
            )

        assert completion.text

    async def test_many_calls_at_once_are_recorded_once_each(self):
        llm = self.llm("openai/gpt-5-mini")
        await asyncio.gather(*(llm.complete("s", f"u {number}") for number in range(300)))

        self.recorder.ended.sort(key=lambda ended: str(ended[0].call_id))
        calls = sorted(self.new_calls(), key=lambda call: str(call["call_id"]))
        assert len(calls) == 300
        assert [call["call_id"] for call in calls] == [
            str(attempt.call_id) for attempt, _ in self.recorder.ended
        ]
