"""The storyline of the providers against the sandbox: what they say happened is what happened."""

from __future__ import annotations

import asyncio
import base64
from decimal import Decimal

import pytest
from django.test import override_settings
from pydantic import BaseModel

from agents.llm import answers
from agents.llm.completion import CostSource
from agents.llm.errors import AnswerNotJson, KeyRejected, ModelUnavailable, NoCredit
from agents.llm.keys import PlainKey
from agents.llm.model_match import is_same_model
from agents.llm.router import create_provider
from observatory.sandbox.catalogue import ANTHROPIC_MODELS, OPENAI_MODELS
from tests.llm.calling import Recorder, everything_logged
from tests.llm.sandboxed import SandboxTestCase
from tests.llm.test_openrouter import PICTURES
from tests.llm.vendors import CLAUDE, OPENAI, OPENROUTER, VENDORS, Vendor


class Advice(BaseModel):
    advice: str
    confidence: float


class AgainstTheSandbox(SandboxTestCase):
    def setUp(self) -> None:
        self.recorder = Recorder()

    def assert_the_records_are_true(self, vendor: Vendor) -> None:
        ledger = {str(call["call_id"]): call for call in self.ledger()}
        for attempt, outcome in self.recorder.ended:
            call = ledger[str(attempt.call_id)]
            assert (call["model"], call["key"]) == (attempt.requested_model, vendor.key)
            assert (call["agent"], call["step_id"]) == ("trainer", "step-1")
            learnt = outcome.learnt
            cost_usd = learnt.cost_usd if learnt else None
            assert (cost_usd or 0) == Decimal(call["cost_usd"])

    async def test_an_answer_is_what_the_ledger_says(self):
        for vendor in VENDORS:
            with self.subTest(vendor.name):
                llm = self.llm(vendor, vendor.model, self.recorder)
                completion = await llm.complete("Be brief.", "Hello")

                call = self.ledger()[-1]
                assert completion.served_model == call["served_model"]
                assert is_same_model(vendor.model, completion.served_model) is True
                assert completion.usage.input_tokens == call["prompt_tokens"]
                assert completion.usage.output_tokens == call["completion_tokens"]
                self.assert_the_records_are_true(vendor)
                self.setUp()

    async def test_an_estimate_is_what_was_billed(self):
        models = [(CLAUDE, model.id) for model in ANTHROPIC_MODELS]
        models += [(OPENAI, model.id) for model in OPENAI_MODELS]
        for vendor, model_id in models:
            with self.subTest(model_id):
                self.setUp()
                llm = self.llm(vendor, model_id, self.recorder)
                completion = await llm.complete("Be brief.", "Hello")

                assert completion.cost_source is CostSource.ESTIMATED
                self.assert_the_records_are_true(vendor)

    async def test_every_vendor_takes_a_picture(self):
        picture = base64.b64encode(PICTURES["image/png"]).decode()
        for vendor in VENDORS:
            completion = await self.llm(vendor, vendor.model).complete(
                "s", "What is it?", image_b64=picture
            )

            assert (completion.usage.input_tokens or 0) > 258, "a picture has its price"

    async def test_a_retired_model_falls_back_on_the_same_key(self):
        llm = self.llm(
            OPENROUTER, "sandbox/retired", self.recorder, fallback_model="openai/gpt-5-mini"
        )
        completion = await llm.complete("s", "u")

        assert is_same_model("openai/gpt-5-mini", completion.served_model)
        assert [each.is_fallback for each in self.recorder.started] == [False, True]
        self.assert_the_records_are_true(OPENROUTER)

    async def test_a_retired_model_names_its_successors(self):
        with pytest.raises(ModelUnavailable) as caught:
            await self.llm(OPENROUTER, "sandbox/retired").complete("s", "u")

        assert caught.value.fallback_models == ("anthropic/claude-sonnet-4.5", "openai/gpt-5-mini")

    async def test_json_by_schema_or_repaired(self):
        for vendor in VENDORS:
            for model_id, was_repaired in (
                (vendor.model, False),
                (f"{vendor.misbehaving}broken-json", True),
            ):
                with self.subTest(model_id):
                    llm = self.llm(vendor, model_id)
                    advised = await answers.ask_json(llm, "Advise.", "Hello", Advice)

                    assert isinstance(advised.value, Advice)
                    assert advised.was_repaired == was_repaired

    async def test_what_is_never_json_is_kept(self):
        for vendor in VENDORS:
            llm = self.llm(vendor, f"{vendor.misbehaving}bad-json")
            with pytest.raises(AnswerNotJson) as caught:
                await answers.ask_json(llm, "Advise.", "Hello", Advice)

            assert caught.value.text.startswith("Sure!")

    async def test_a_key_is_checked_without_a_call_on_record(self):
        for vendor in VENDORS:
            for bad in ("sk-wrong", "no-key-at-all", OPENAI.key[:9]):
                llm = self.llm(vendor, "a/b", self.recorder, api_key=PlainKey(bad))
                with pytest.raises(KeyRejected):
                    await llm.validate_key()
            await self.llm(vendor, "a/b", self.recorder).validate_key()

        assert self.recorder.order == []

    async def test_a_key_without_credit_says_so(self):
        for vendor in VENDORS:
            key = PlainKey(f"{vendor.key}nocredit")
            with pytest.raises(NoCredit):
                await self.llm(vendor, vendor.model, api_key=key).complete("s", "u")

    async def test_an_echoed_key_shows_nowhere(self):
        for vendor in VENDORS:
            with everything_logged() as logged, pytest.raises(KeyRejected) as caught:
                await self.llm(vendor, f"{vendor.misbehaving}echo-key", self.recorder).complete(
                    "s", "u"
                )

            shown = f"{caught.value} {caught.value!r} {self.recorder.ended!r} {logged.getvalue()}"
            assert "[key hidden]" in shown
            assert vendor.key not in shown

    async def test_the_router_reaches_the_operators_addresses(self):
        addresses = {
            "OPENROUTER_BASE_URL": self.base_url(OPENROUTER),
            "ANTHROPIC_BASE_URL": self.base_url(CLAUDE),
            "OPENAI_BASE_URL": self.base_url(OPENAI),
        }
        for vendor in VENDORS:
            with override_settings(**addresses):
                llm = create_provider(vendor.name, vendor.key, vendor.model)

            assert (await llm.complete("s", "u")).text

    async def test_many_calls_at_once_are_recorded_once_each(self):
        llms = [self.llm(vendor, vendor.model, self.recorder, deadline_s=60) for vendor in VENDORS]
        before = len(self.ledger())
        await asyncio.gather(*(llms[n % 3].complete("s", f"u {n}") for n in range(300)))

        on_record = sorted(str(attempt.call_id) for attempt, _ in self.recorder.ended)
        assert sorted(str(call["call_id"]) for call in self.ledger()[before:]) == on_record
        assert len(set(on_record)) == 300
