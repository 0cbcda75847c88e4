"""Whatever a vendor sends ends as an answer or as one of our errors, and is never paid for twice.

A part of the responses goes over real loopback HTTP, through the provider with its retries and
records; the rest goes to the functions that read a reply. With OBSERVATORY_PROVE=1 there are twenty
times as many, of a seed that nobody has tried.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

from django.test import SimpleTestCase

from agents.llm import bodies, http, terms
from agents.llm.base import Outcome
from agents.llm.completion import Completion
from agents.llm.errors import AnswerCut, LLMError
from agents.llm.signs import Sent
from tests.llm.calling import SCHEMA, Recorder
from tests.llm.generated import Response, flipped, response
from tests.llm.loopback import Loopback, Received, loopback
from tests.llm.vendors import WIRES, Body, Vendor
from tests.proving import IS_PROVING, amount, closing_line

SEED = time.time_ns() if IS_PROVING else 20261124
OVER_HTTP = amount(130, quickly=50, proving=2_200)  # for each vendor
BROKEN_HTTP = amount(30, proving=600)
READ_ONLY = amount(200, quickly=100, proving=4_200)
SENT = Sent(
    has_instructions=True,
    parameters=frozenset({"max_tokens", "max_completion_tokens", "provider"}),
    max_tokens=4_096,
)
SENTS = (SENT, replace(SENT, has_schema=True, wants_json=True, has_picture=True))
RATE_CODES = (b'"rate_limit_exceeded"', b'"rate_limit_error"', b'"capacity_exhausted"')
RETRIED_STATUSES = {408, 409, 425, 429, *range(500, 600)}


class Fuzzing(SimpleTestCase):
    async def test_responses_over_http(self):
        for vendor in WIRES:
            chance = random.Random(f"{SEED} {vendor.name}")
            async with loopback(vendor.ok()) as server:
                for number in range(OVER_HTTP):
                    given = response(vendor, chance)
                    with self.subTest(vendor.name, seed=SEED, number=number, given=given):
                        server.replies = [given.as_canned()]
                        outcomes = await played(vendor, server, chance)

                        assert_sound(vendor, outcomes)
                        requests = [request.body for request in server.chats]
                        for number_of_one, earlier in enumerate(outcomes[:-1]):
                            before, after = requests[number_of_one : number_of_one + 2]
                            assert may_be_followed(given, earlier, before, after)
        closing_line(f"fuzz: {OVER_HTTP * len(WIRES)} responses over HTTP, sound, {SEED=}")

    async def test_broken_http(self):
        for vendor in WIRES:
            chance = random.Random(f"{SEED} {vendor.name}")
            async with loopback(vendor.ok()) as server:
                for number in range(BROKEN_HTTP):
                    raw = flipped(response(vendor, chance).as_canned().encoded(), chance)
                    with self.subTest(vendor.name, seed=SEED, number=number, raw=raw):
                        server.replies = [sending(raw)]
                        assert_sound(vendor, await played(vendor, server, chance))
        closing_line(f"fuzz: {BROKEN_HTTP * len(WIRES)} broken HTTP responses, sound, {SEED=}")

    def test_responses_that_are_only_read(self):
        for vendor in WIRES:
            chance = random.Random(f"{SEED} {vendor.name} read")
            for number in range(READ_ONLY):
                given = response(vendor, chance)
                with self.subTest(vendor.name, seed=SEED, number=number, given=given):
                    assert_sound(vendor, [read(vendor, given, chance.choice(SENTS))])
        closing_line(f"fuzz: {READ_ONLY * len(WIRES)} responses read, sound, {SEED=}")


async def played(vendor: Vendor, server: Loopback, chance: random.Random) -> list[Outcome]:
    """Return the outcomes of all attempts of one call that ends in an answer or in an LLMError."""
    recorder = Recorder()
    server.received.clear()
    terms.forget_all()
    llm = vendor.provider(server.base_url, recorder, deadline_s=0.3)
    with suppress(LLMError):
        await llm.complete("s", "u", schema=chance.choice((None, SCHEMA)))
    return recorder.outcomes


def read(vendor: Vendor, given: Response, sent: Sent) -> Outcome:
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
        answer = vendor.provider("http://nowhere").completion(reply, sent)
        return Outcome(completion=answer, http_status=given.status)
    except LLMError as error:
        return Outcome(error=error, http_status=error.http_status)


def sending(raw: bytes):
    async def send(_: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    return send


def assert_sound(vendor: Vendor, outcomes: list[Outcome]) -> None:
    """Assert what must hold after any response at all."""
    if not outcomes:
        return  # the time was over before the first of them, on a busy machine
    *earlier, last = outcomes
    cut = [one for one in earlier if isinstance(one.error, AnswerCut) and one.error.maybe_charged]
    assert len(cut) <= 1, "a cut answer was asked again more than once"
    for outcome in earlier:
        assert outcome.error is not None
        if outcome not in cut:
            assert not outcome.error.maybe_charged, "asked again after it may have been charged"
    for outcome in outcomes:
        assert_reportable(outcome, vendor)
    if last.completion is None:
        assert last.error is not None
        assert last.error.member_line == type(last.error).member_line
        return
    assert last.completion.text.strip()
    assert not last.completion.is_cut
    assert last.completion.finish_reason not in ("error", "pause_turn", "length", "max_tokens")
    if not last.completion.finish_reason:
        assert isinstance(json.loads(last.completion.text), dict)
        assert last.completion.usage.output_tokens is not None
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


def may_be_followed(given: Response, outcome: Outcome, before: Body, after: Body) -> bool:
    """Return whether one more request was right, by the response and the two requests alone."""
    if 200 <= given.status < 300:
        learnt: Completion | None = outcome.learnt
        if learnt is not None and learnt.cost_usd == 0:
            return True
        if isinstance(outcome.error, AnswerCut):
            is_less_effort = "low" in str(after) and "low" not in str(before)
            return limit_of(after) > limit_of(before) or is_less_effort
        return holds_only_an_error(given)
    if before != after:  # a refusal costs nothing, and this is another request
        return True
    raw = unpacked(given)
    is_told = b'"retryable"' in raw
    is_told = is_told or any(code in raw for code in RATE_CODES)  # whatever the status
    is_asked = given.status == 402 and "Retry-After" in given.headers
    return given.status in RETRIED_STATUSES or is_told or is_asked or raw[:1] == b"<"


def limit_of(body: Body) -> int:
    """Return the output limit of a request, by whatever name it goes."""
    (limit,) = [body[name] for name in ("max_tokens", "max_completion_tokens") if name in body]
    return int(limit)


def unpacked(given: Response) -> bytes:
    is_packed = given.headers.get("Content-Encoding") == "gzip"
    return bodies.decompressed(given.raw, "gzip" if is_packed else "")[0]


def holds_only_an_error(given: Response) -> bool:
    raw = unpacked(given)
    try:
        body = json.loads(raw)
    except ValueError:
        body = {"error": b"error" in raw}  # events
    is_answer = any(body.get(name) for name in ("usage", "choices", "content"))
    return bool(body.get("error")) and not is_answer
