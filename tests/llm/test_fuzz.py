"""Whatever a vendor sends ends as an answer or as one of our errors, and is never paid for twice.

A part of the responses goes over real loopback HTTP, through the provider with its retries and records;
the rest goes to the functions that read a reply. With OBSERVATORY_PROVE=1 there are twenty times as many,
of a seed that nobody has tried.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from decimal import Decimal

from django.test import SimpleTestCase

from agents.llm import http
from agents.llm.base import Completion, Outcome
from agents.llm.calls import Prompt
from agents.llm.errors import LLMError
from tests.llm.calling import SCHEMA, Recorder
from tests.llm.generated import Response, flipped, response
from tests.llm.loopback import Received, loopback
from tests.llm.proving import IS_PROVING, amount
from tests.llm.vendors import VENDORS, Vendor

SEED = time.time_ns() if IS_PROVING else 20261124
OVER_HTTP = amount(130, proving=2_200)  # for each vendor
BROKEN_HTTP = amount(30, proving=600)
READ_ONLY = amount(200, proving=4_200)
PROMPTS = (Prompt(system="s", user="u"), Prompt(system="s", user="u", schema=SCHEMA))
RETRIED_STATUSES = {408, 429, *range(500, 600)}


class Fuzzing(SimpleTestCase):
    async def test_responses_over_http(self):
        for vendor in VENDORS:
            chance = random.Random(f"{SEED} {vendor.name}")
            async with loopback(vendor.ok()) as server:
                for number in range(OVER_HTTP):
                    given = response(vendor, chance)
                    with self.subTest(vendor.name, seed=SEED, number=number, given=given):
                        server.replies = [given.as_canned()]
                        outcomes = await played(vendor, server.base_url, chance)

                        assert_sound(vendor, outcomes)
                        for earlier in outcomes[:-1]:
                            assert may_be_repeated(given, earlier)

    async def test_broken_http(self):
        for vendor in VENDORS:
            chance = random.Random(f"{SEED} {vendor.name}")
            async with loopback(vendor.ok()) as server:
                for number in range(BROKEN_HTTP):
                    raw = flipped(response(vendor, chance).as_canned().encoded(), chance)
                    with self.subTest(vendor.name, seed=SEED, number=number, raw=raw):
                        server.replies = [sending(raw)]
                        assert_sound(vendor, await played(vendor, server.base_url, chance))

    def test_responses_that_are_only_read(self):
        for vendor in VENDORS:
            chance = random.Random(f"{SEED} {vendor.name} read")
            for number in range(READ_ONLY):
                given = response(vendor, chance)
                with self.subTest(vendor.name, seed=SEED, number=number, given=given):
                    assert_sound(vendor, [read(vendor, given, chance.choice(PROMPTS))])


async def played(vendor: Vendor, base_url: str, chance: random.Random) -> list[Outcome]:
    """Return the outcomes of all attempts of one call that ends in an answer or in an LLMError."""
    recorder = Recorder()
    llm = vendor.provider(base_url, recorder, deadline_s=0.3)
    with suppress(LLMError):
        await llm.complete("s", "u", schema=chance.choice((None, SCHEMA)))
    return recorder.outcomes


def read(vendor: Vendor, given: Response, prompt: Prompt) -> Outcome:
    """Return what the vendor's wire makes of a response that http.py would have read."""
    body, flaw = http._parsed(given.raw, vendor.key, "")
    reply = http.Reply(
        status=given.status,
        headers={name.lower(): value for name, value in given.headers.items()},
        body=body,
        flaw=flaw,
        latency_ms=1,
    )
    try:
        return Outcome(completion=vendor.wire.completion(reply, prompt), http_status=given.status)
    except LLMError as error:
        return Outcome(error=error, http_status=error.http_status)


def sending(raw: bytes):
    async def send(_: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    return send


def assert_sound(vendor: Vendor, outcomes: list[Outcome]) -> None:
    """Assert what must hold after any response at all."""
    *earlier, last = outcomes
    for outcome in earlier:
        assert outcome.error is not None
        assert not outcome.error.maybe_charged, "it was asked again after it may have been charged"
    for outcome in outcomes:
        assert_reportable(outcome, vendor)
    if last.completion is None:
        assert last.error is not None
        assert last.error.member_line == type(last.error).member_line
        return
    assert last.completion.text.strip()
    assert last.completion.finish_reason not in ("", "error", "pause_turn")
    assert last.http_status is not None
    assert 200 <= last.http_status < 300


def assert_reportable(outcome: Outcome, vendor: Vendor) -> None:
    """Assert that all that is said of an attempt can be stored and shown, and can be true."""
    shown = repr(outcome)
    if outcome.error is not None:
        shown += f"{outcome.error} {vars(outcome.error)!r}"
        str(outcome.error).encode()
    assert vendor.key not in shown
    learnt = outcome.learnt
    if learnt is None:
        return
    "".join((learnt.text, learnt.served_model, learnt.finish_reason, learnt.generation_id)).encode()
    if learnt.cost_usd is not None:
        assert isinstance(learnt.cost_usd, Decimal)
        assert learnt.cost_usd.is_finite()
        assert learnt.cost_usd >= 0


def may_be_repeated(given: Response, outcome: Outcome) -> bool:
    """Return whether the response itself says that nobody pays for it."""
    if 200 <= given.status < 300:
        learnt: Completion | None = outcome.learnt
        return learnt is not None and learnt.cost_usd == 0
    is_schema_refused = "Schema" in type(outcome.error).__name__
    return given.status in RETRIED_STATUSES or b'"retryable"' in given.raw or is_schema_refused
