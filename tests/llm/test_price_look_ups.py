"""Asking what a call cost: never part of how long it took, and never again where nobody knows."""

from __future__ import annotations

import asyncio
from typing import Any

from django.test import SimpleTestCase

from tests.llm.calling import Recorder, ok, provider
from tests.llm.loopback import Canned, Received, loopback

SLOW_S = 0.4


class PriceLookUpTests(SimpleTestCase):
    async def test_a_slow_look_up_is_no_part_of_the_latency(self):
        async def slowly(_: Received, __: Any, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(SLOW_S)
            writer.write(Canned(body={"data": {"total_cost": 0.25}}).encoded())
            await writer.drain()

        recorder = Recorder()
        async with loopback(ok("Hi.", usage={}), slowly) as server:
            completion = await provider(server.base_url, recorder).complete("s", "u")

        assert str(completion.cost_usd) == "0.25"
        assert len(server.received) == 2
        (outcome,) = recorder.outcomes
        assert outcome.latency_ms < SLOW_S * 1000
        assert abs(outcome.latency_ms - completion.latency_ms) <= 20

    async def test_a_server_without_look_ups_is_asked_once(self):
        pages = [
            Canned(status=404, body=b"404 page not found"),
            Canned(status=404, body={"detail": "Not Found"}),
            Canned(
                status=404,
                body={"error": {"code": 404, "message": "Not Found", "type": "not_found_error"}},
            ),
            Canned(status=404, body={"error": {"message": "no", "type": "x", "code": None}}),
            Canned(status=404, body=b"<html>"),
        ]
        for page in pages:
            with self.subTest(page.body):
                answer = ok("Hi.", usage={})
                async with loopback(answer, page, answer, answer, answer) as server:
                    for _ in range(4):
                        await provider(server.base_url).complete("s", "u")

                assert [request.method for request in server.received] == [
                    "POST",
                    "GET",
                    "POST",
                    "POST",
                    "POST",
                ]

    async def test_openrouters_not_yet_is_asked_again_after_each_call(self):
        late = Canned(status=404, body={"error": {"code": 404, "message": "Generation not found"}})
        known = Canned(body={"data": {"total_cost": 0.25}})
        answer = ok("Hi.", usage={})
        async with loopback(answer, late, known, answer, known) as server:
            for _ in range(2):
                completion = await provider(server.base_url).complete("s", "u")
                assert str(completion.cost_usd) == "0.25"

        assert len(server.received) == 5
