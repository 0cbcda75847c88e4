"""What vendors say and what it means: recorded wordings with their sources, each in its row.

`wordings.json` holds them as data: the server, the status, the body as it was reported, where it
was reported, and the right cause. Add one there whenever a vendor is heard to say something new.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.test import SimpleTestCase

from agents.llm import refusals
from agents.llm.causes import HANDLING, UNFIT, Cause, Next, Operators
from agents.llm.errors import (
    CreditTooLow,
    LimitRefused,
    LLMError,
    ParameterUnsupported,
    ProviderUnavailable,
    RateLimited,
)
from agents.llm.signs import Sent
from tests.llm.calling import SCHEMA, Recorder
from tests.llm.loopback import Canned, loopback
from tests.llm.vendors import OPENAI, OPENROUTER, VENDORS, Body, Vendor

WORDINGS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "wordings.json").read_text(encoding="utf-8")
)
PARAMETERS = ("max_tokens", "max_completion_tokens", "provider", "reasoning", "temperature")
SENT = Sent(
    has_schema=True,
    has_instructions=True,
    has_max_price=True,
    wants_json=True,
    parameters=frozenset({*PARAMETERS, "response_format"}),
    max_tokens=16_384,
)
FALLBACK = "openai/gpt-5-mini"
ANSWER = {"is_lead": True}


def sent_with(wording: dict[str, Any]) -> Sent:
    return Sent(
        **{
            name: getattr(SENT, name)
            for name in ("has_schema", "has_instructions", "has_max_price", "wants_json")
        },
        has_picture=wording.get("has_picture", False),
        parameters=SENT.parameters,
        max_tokens=SENT.max_tokens,
    )


def understood(wording: dict[str, Any]) -> LLMError:
    status = wording.get("inside_200", wording["status"])
    return refusals.understood(refusals.said(status, wording["body"]), sent_with(wording))


class Wordings(SimpleTestCase):
    def test_each_recorded_wording_is_in_its_row(self):
        for wording in WORDINGS:
            with self.subTest(wording["server"], body=wording["body"]):
                error = understood(wording)

                assert error.cause == wording["cause"]
                if "tokens" in wording:
                    assert isinstance(error, CreditTooLow | LimitRefused)
                    assert error.most_tokens == wording["tokens"]
                if "parameter" in wording:
                    assert isinstance(error, ParameterUnsupported)
                    assert error.parameter == wording["parameter"]

    def test_shorter_is_said_of_length_alone(self):
        for cause, handling in HANDLING.items():
            assert ("shorter" in handling.member_line) == (cause is Cause.LENGTH)
        for wording in WORDINGS:
            is_length = wording["cause"] == Cause.LENGTH
            assert ("shorter" in understood(wording).member_line) == is_length

    def test_there_are_enough_of_every_kind_each_with_a_source(self):
        asked_for = "schema role parameter limit picture length policy budget account rate region"
        kinds = Counter(wording["cause"] for wording in WORDINGS)

        assert len(WORDINGS) >= 60
        assert set(kinds) >= {*asked_for.split(), "unknown model", "price", "credit", "key"}
        assert all(wording["source"].startswith("https://") for wording in WORDINGS)

    async def test_each_is_the_same_over_every_wire(self):
        """The row decides, not the vendor: over real HTTP, with all that a call does about it."""
        for wording in WORDINGS:
            if wording["cause"] in ("outage", "rate") or "inside_200" in wording:
                continue  # tried again without a change: see test_retries
            for vendor in VENDORS:
                with self.subTest(vendor.name, body=wording["body"]):
                    await self.assert_handled(vendor, wording)

    async def assert_handled(self, vendor: Vendor, wording: dict[str, Any]) -> None:
        recorder = Recorder()
        refused = Canned(status=wording["status"], body=wording["body"])
        picture = "R0lGODlh" if wording.get("has_picture") else None
        async with loopback(refused) as server:
            server.by_model[FALLBACK] = vendor.ok(json.dumps(ANSWER))
            llm = vendor.provider(server.base_url, recorder, fallback_model=FALLBACK)
            try:
                answer = await llm.complete("s", "u", schema=SCHEMA, image_b64=picture)
            except LLMError:
                answer = None

        errors = [one.error for one in recorder.outcomes if one.error]
        assert errors[0].cause == cause_of(wording, server.chats[0].body)
        assert (answer is not None) == errors[-1].handling.may_fall_back
        assert not any(error.maybe_charged for error in errors)
        assert len({attempt.key_fingerprint for attempt in recorder.started}) == 1


def cause_of(wording: dict[str, Any], body: Body) -> Cause:
    """Return the cause of a refusal by what was sent; words about other things do not count."""
    cause, words = Cause(wording["cause"]), str(wording["body"])
    limit = body.get("max_tokens") or body["max_completion_tokens"]
    is_of_both = "context length" in words or "Request too large" in words
    is_of_both = is_of_both and "max_completion_tokens' is too large" not in words
    if cause is Cause.PRICE:  # none was named: what the model costs is not known here
        return Cause.OUTAGE if wording["status"] == 503 else Cause.UNKNOWN_MODEL
    if cause is Cause.PARAMETER and not any(f"{name}'" in words for name in body):
        is_sent = wording["parameter"] in body
        return cause if is_sent else Cause.REQUEST
    if cause is Cause.LIMIT and is_of_both and wording["tokens"] >= limit:
        return Cause.LENGTH  # what was asked for was little already
    return cause


class Rows(SimpleTestCase):
    def test_every_cause_has_a_row_and_an_error(self):
        assert set(HANDLING) == set(Cause)
        errors = {error.cause for error in _subclasses(LLMError)}

        assert errors == set(Cause) - {Cause.OTHER}

    def test_what_is_tried_again_is_what_the_row_says(self):
        for error in _subclasses(LLMError):
            assert error.retryable == (error.handling.next is Next.SAME_LATER)

    def test_a_refusal_is_free_and_what_came_and_was_no_good_is_not(self):
        billed = {cause for cause, handling in HANDLING.items() if handling.is_billed}

        assert billed == {Cause.TIME, Cause.CUT, Cause.UNUSABLE, Cause.NOT_JSON}
        assert not billed & {Cause(wording["cause"]) for wording in WORDINGS}

    def test_unfit_are_the_rows_about_what_a_model_cannot_do(self):
        assert set(UNFIT) == {Cause.SCHEMA, Cause.PICTURE, Cause.LIMIT}
        assert HANDLING[Cause.LENGTH].operators is Operators.NOTHING


class Pages(SimpleTestCase):
    async def test_a_networks_page_instead_of_an_answer_is_an_outage(self):
        page = b"<!DOCTYPE html><html><head><title>Attention Required!</title></head></html>"
        for vendor in VENDORS:
            error = await vendor.failed(Canned(status=403, body=page), ProviderUnavailable)

            assert error.retryable
            assert "rules" not in error.member_line

    async def test_it_does_not_condemn_a_key_either(self):
        for vendor in VENDORS:
            async with loopback(Canned(status=403, body=b"<html>Blocked</html>")) as server:
                with pytest.raises(ProviderUnavailable):
                    await vendor.provider(server.base_url).validate_key()

    async def test_credit_that_is_taken_for_a_moment_is_waited_for(self):
        busy = {"error": {"code": 402, "message": "Insufficient credits"}}
        for reply in (
            Canned(status=402, body=busy, headers={"Retry-After": "0"}),
            OPENROUTER.refused(402, metadata={"limit_source": "openrouter_in_flight_budget"}),
        ):
            async with loopback(reply, OPENROUTER.ok()) as server:
                completion = await OPENROUTER.provider(server.base_url).complete("s", "u")

            assert completion.text == "Hello."

    async def test_words_are_never_trusted_where_a_code_says_more(self):
        told = OPENAI.refused(429, "your billing details", code="resource_exhausted")
        await OPENAI.failed(told, RateLimited)

    def test_no_shape_crashes_and_no_depth_exhausts(self):
        deep: Any = "x"
        for _ in range(500):
            deep = {"error": [deep], "message": json.dumps({"error": "y"})}
        shapes: list[Any] = [None, 7, [], [[]], "x", {"message": "{" * 9_000}]
        for body in (*shapes, deep, {"loc": [{}, 1.5]}):
            assert refusals.understood(refusals.said(400, body), Sent()).cause == Cause.REQUEST


def _subclasses(error: type[LLMError]) -> list[type[LLMError]]:
    return [one for child in error.__subclasses__() for one in (child, *_subclasses(child))]
