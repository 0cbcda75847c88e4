"""Asking what a call cost: never part of how long it took, and never again where nobody knows."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from django.test import SimpleTestCase

from tests.llm.calling import Recorder, ok, provider
from tests.llm.loopback import Canned, Received, loopback


class PriceLookUpTests(SimpleTestCase):
    async def test_the_latency_ends_before_the_price_is_asked_for(self):
        asked_at: list[float] = []

        async def price(_: Received, __: Any, writer: asyncio.StreamWriter) -> None:
            asked_at.append(time.monotonic())
            await asyncio.sleep(0.1)  # so that a latency with it would be beyond the bound
            writer.write(Canned(body={"data": {"total_cost": 0.25}}).encoded())
            await writer.drain()

        recorder = Recorder()
        began_at = time.monotonic()
        async with loopback(ok("Hi.", usage={}), price) as server:
            completion = await provider(server.base_url, recorder).complete("s", "u")

        assert str(completion.cost_usd) == "0.25"
        assert len(server.received) == 2
        (outcome,) = recorder.outcomes
        # Both are whole milliseconds, rounded to the nearest.
        until_asked_ms = (asked_at[0] - began_at) * 1000 + 0.5
        assert outcome.latency_ms <= until_asked_ms
        assert completion.latency_ms <= until_asked_ms

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
