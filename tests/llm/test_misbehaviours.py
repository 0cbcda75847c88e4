"""Every misbehaviour of the sandbox, at every vendor: what came of it, on the wire and on record.

All rows run at once, so that those which take seconds take them together.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest
from pydantic import BaseModel

from agents.llm import calls as llm_calls
from agents.llm.answers import ask_json
from agents.llm.base import Outcome, Payer
from agents.llm.completion import Completion, CostSource
from agents.llm.errors import (
    AnswerCut,
    AnswerUnusable,
    BudgetSpent,
    DeadlineExceeded,
    KeyRejected,
    LLMError,
    ModelUnavailable,
    NoCredit,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
    RequestForbidden,
    RequestInvalid,
    RequestTooLong,
)
from agents.llm.keys import fingerprint
from agents.llm.model_match import is_same_model
from agents.llm.secrets import HIDDEN
from tests.llm.calling import Recorder, everything_logged
from tests.llm.misbehaving import LONG_S, TABLES, Row
from tests.llm.sandboxed import SandboxTestCase
from tests.llm.vendors import OPENROUTER, VENDORS, Vendor
from tests.misbehaviours import DELAYS_S
from tests.misbehaviours.anthropic import MISBEHAVIOURS as OF_CLAUDE
from tests.misbehaviours.openai import MISBEHAVIOURS as OF_OPENAI
from tests.misbehaviours.openrouter import MISBEHAVIOURS as OF_OPENROUTER
from tests.misbehaviours.refusals import REFUSALS
from tests.misbehaviours.texts import TEXTS
from tests.misbehaviours.wire import WIRE

OFFERED = {"openrouter": OF_OPENROUTER, "claude": OF_CLAUDE, "openai": OF_OPENAI}
MEMBER_LINES: dict[type[LLMError], str] = {
    AnswerCut: "The model's answer was cut off. Please try again.",
    AnswerUnusable: "The model's answer was incomplete. Please try again.",
    DeadlineExceeded: "The model took too long to answer. Please try again.",
    KeyRejected: "The provider didn't accept the API key.",
    ModelUnavailable: ("This model isn't available right now. An admin can choose another one."),
    NoCredit: "The API key is out of credit.",
    BudgetSpent: "The API key's budget is used up.",
    ProviderRejected: "The model's provider refused this request.",
    ProviderUnavailable: ("The model's provider isn't responding. Please try again in a minute."),
    RateLimited: "The model is busy right now. Please try again in a minute.",
    RequestForbidden: "The provider's rules don't allow this request.",
    RequestInvalid: "The model can't handle this request. An admin can choose another one.",
    RequestTooLong: "This message is too long for the model. Please make it shorter.",
}


@dataclass(frozen=True, kw_only=True)
class Played:
    """One row as it went: its end, its record, and the ledger's lines of its calls."""

    vendor: Vendor
    row: Row
    end: Completion | LLMError
    recorder: Recorder
    billed: list[dict[str, Any]]

    @property
    def outcome(self) -> Outcome:
        return self.recorder.outcomes[-1]


class Misbehaviours(SandboxTestCase):
    def setUp(self) -> None:
        super().setUp()
        # All play at once, so that none is answered quickly.
        self.enterContext(patch.object(llm_calls, "SETTLING_S", LONG_S))

    async def test_each_ends_as_it_should(self):
        with everything_logged() as logged:
            played = await self.play_all()

        for each in played:
            with self.subTest(f"{each.vendor.name} {each.row.name}"):
                self.assert_the_end_is_right(each)
                self.assert_the_wire_saw_what_is_on_record(each)
                self.assert_the_costs_are_true(each)
        shown = f"{logged.getvalue()} {[(each.end, each.recorder.ended) for each in played]!r}"
        assert HIDDEN in shown, "the keys were echoed"
        assert [vendor.name for vendor in VENDORS if vendor.key in shown] == []

    def test_the_table_has_all_that_the_sandbox_offers(self):
        for name, offered in OFFERED.items():
            rows = {row.name for row in TABLES[name]}

            assert {*offered, *TEXTS, *REFUSALS, *WIRE, *DELAYS_S} - rows == set()

    async def play_all(self) -> list[Played]:
        rows = [(vendor, row) for vendor in VENDORS for row in TABLES[vendor.name]]
        # What never ends has a short time to be asked in: not in the crowd of all the others.
        rows.sort(key=lambda each: each[1].deadline_s < LONG_S)
        ends = []
        for _, group in itertools.groupby(rows, key=lambda each: each[1].deadline_s):
            ends += await asyncio.gather(*(self.play(vendor, row) for vendor, row in group))
        ledger = {str(call["call_id"]): call for call in self.ledger()}
        return [
            Played(
                vendor=vendor,
                row=row,
                end=end,
                recorder=recorder,
                billed=[ledger[str(attempt.call_id)] for attempt in recorder.started],
            )
            for (vendor, row), (end, recorder) in zip(rows, ends, strict=True)
        ]

    async def play(self, vendor: Vendor, row: Row) -> tuple[Completion | LLMError, Recorder]:
        recorder = Recorder()
        model_id = f"{vendor.misbehaving}{row.name}"
        llm = self.llm(vendor, model_id, recorder, payer=Payer.SHARED, deadline_s=row.deadline_s)
        try:
            return await llm.complete("Be brief.", "Hello"), recorder
        except LLMError as error:
            return error, recorder

    def assert_the_end_is_right(self, played: Played) -> None:
        row, end, outcome = played.row, played.end, played.outcome
        assert outcome.http_status == row.status
        if isinstance(end, Completion):
            assert row.error is None
            assert outcome.completion == end
            assert end.text.strip()
            assert end.finish_reason
            return
        assert type(end) is row.error
        assert outcome.error is end
        assert end.member_line == MEMBER_LINES[type(end)]
        assert end.maybe_charged == row.is_billed
        assert (end.provider, end.model_id) == (
            played.vendor.name,
            f"{played.vendor.misbehaving}{row.name}",
        )

    def assert_the_wire_saw_what_is_on_record(self, played: Played) -> None:
        attempts = played.recorder.started
        assert len(attempts) == len(played.billed) == played.row.requests
        assert [attempt for attempt, _ in played.recorder.ended] == attempts
        assert [attempt.number for attempt in attempts] == list(range(1, len(attempts) + 1))
        for attempt, call in zip(attempts, played.billed, strict=True):
            assert (call["key"], call["model"]) == (played.vendor.key, attempt.requested_model)
            assert (call["agent"], call["step_id"]) == ("trainer", "step-1")
            assert attempt.payer is Payer.SHARED
            assert attempt.key_fingerprint == fingerprint(played.vendor.key)

    def assert_the_costs_are_true(self, played: Played) -> None:
        """Ours are the ledger's; or we say that we do not know."""
        for outcome, call in zip(played.recorder.outcomes, played.billed, strict=True):
            learnt, billed = outcome.learnt, Decimal(call["cost_usd"])
            if learnt is None:
                assert billed == 0
            elif played.vendor is OPENROUTER and played.row.is_cost_told:
                assert learnt.cost_source is CostSource.REPORTED
                assert learnt.cost_usd == billed
            else:
                assert learnt.cost_source is not CostSource.REPORTED
                # The sandbox's own models are on no price list.
                assert learnt.cost_usd is None or played.row.name == "other-model"


class Opinion(BaseModel):
    summary: str
    risks: list[str]


class SayingMore(SandboxTestCase):
    async def test_the_served_model_is_told_for_the_tripwire(self):
        for vendor in VENDORS:
            model_id = f"{vendor.misbehaving}other-model"
            completion = await self.llm(vendor, model_id).complete("s", "u")

            assert is_same_model(model_id, completion.served_model) is False
        completion = await self.llm(OPENROUTER, "sandbox/dated").complete("s", "u")
        assert is_same_model("sandbox/dated", completion.served_model) is True

    async def test_a_wait_that_does_not_fit_ends_the_call_with_what_was_asked(self):
        for vendor in VENDORS:
            recorder = Recorder()
            llm = self.llm(vendor, f"{vendor.misbehaving}error-429", recorder, deadline_s=0.9)
            with pytest.raises(RateLimited) as caught:
                await llm.complete("s", "u")

            assert caught.value.retry_after_s == 1.0
            assert len(recorder.ended) == 1

    async def test_an_answer_in_any_place_or_form_is_one_call(self):
        everywhere = ("think-first", "in-a-list", "under-a-name", "fenced-json", "gzip")
        table = {vendor.name: [*everywhere, "no-finish"] for vendor in VENDORS}
        for name in ("openrouter", "openai"):
            table[name] += ["as-thought", "with-thoughts"]
        table["openrouter"] += ["unasked-stream"]
        for vendor in VENDORS:
            for name in table[vendor.name]:
                with self.subTest(f"{vendor.name} {name}"):
                    recorder = Recorder()
                    llm = self.llm(vendor, f"{vendor.misbehaving}{name}", recorder)
                    found = await ask_json(llm, "Be brief.", "Hello", Opinion)

                    assert found.value.summary
                    assert "SECRET" not in found.value.model_dump_json()
                    assert not found.was_repaired
                    assert len(recorder.ended) == 1

    async def test_what_a_model_was_found_not_to_take_is_not_sent_to_it_again(self):
        for vendor in VENDORS:
            for name in REFUSALS:
                with self.subTest(f"{vendor.name} {name}"):
                    requests = []
                    for _ in range(2):
                        recorder = Recorder()
                        llm = self.llm(vendor, f"{vendor.misbehaving}{name}", recorder)
                        assert (await ask_json(llm, "Be brief.", "Hello", Opinion)).value.summary
                        requests.append(len(recorder.ended))

                    assert requests == [2, 1]

    async def test_a_cut_answer_says_so_in_the_vendors_words(self):
        reasons = []
        for vendor in VENDORS:
            llm = self.llm(vendor, f"{vendor.misbehaving}truncated")
            with pytest.raises(AnswerCut) as caught:
                await llm.complete("s", "u")
            assert caught.value.learnt is not None
            reasons.append(caught.value.learnt.finish_reason)

        assert reasons == ["length", "max_tokens", "length"]
