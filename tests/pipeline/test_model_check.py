"""The model check on the real path: routers, recorded lists, and who ran a gateway's model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle, islice
from typing import Any

from asgiref.sync import sync_to_async
from django.test import override_settings

from agents.catalog.store import store
from agents.llm.http import close_clients
from pipeline.management.commands.runpipeline import _json, _words
from pipeline.models import LLMCall
from pipeline.models.runs import CallStatus
from tests.agents.catalog.listing import NOW
from tests.agents.catalog.recorded import DAYS, ROUTERS, listing_of
from tests.canaries import SHARED_KEY
from tests.llm.loopback import Canned, Loopback, Received, loopback
from tests.pipeline.cases import PipelineCase, call_rows, member_llm
from tests.pipeline.players import asking, pipeline, step
from tests.proving import amount, closing_line

CALLS = amount(5, proving=100)


def answer(model: str, **members: Any) -> Canned:
    body = {
        "id": "gen-1",
        "model": model,
        "choices": [{"finish_reason": "stop", "message": {"content": "Well."}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "cost": 0.001},
    }
    return Canned(body=body | members)


@asynccontextmanager
async def openrouter(*replies: Any) -> AsyncIterator[Loopback]:
    async with loopback(*replies) as server:
        with override_settings(OPENROUTER_BASE_URL=server.base_url):
            try:
                yield server
            finally:
                await close_clients()


class RouterTests(PipelineCase):
    async def test_whatever_a_router_picks_raises_no_alert_and_is_on_record(self):
        for day in DAYS:
            await sync_to_async(store)(listing_of(day), {}, now=NOW, accept_fewer=True)
        offered = [entry.model_id for entry in listing_of(DAYS[1]).entries.values()]
        routers = sorted({router for day in DAYS for router in ROUTERS[day]})
        picked = cycle(offered[::7])

        for router in [*routers, "openrouter/auto:nitro", "@preset/sales"]:
            models = list(islice(picked, CALLS))
            async with openrouter(*map(answer, models)):
                ctx = self.context(default_llm=member_llm(router))
                await self.play(pipeline(step("one")), [asking("one", times=CALLS)], ctx)

            calls = await call_rows(requested_model=router)
            assert [call.served_model for call in calls] == models
            assert {call.status for call in calls} == {CallStatus.OK}
        assert self.alerts == []
        assert not await LLMCall.objects.filter(is_mismatch=True).aexists()
        assert await LLMCall.objects.acount() == (len(routers) + 2) * CALLS
        closing_line(f"model check: {CALLS} calls through each of {len(routers) + 2}, alerts=0")

    async def test_a_listed_model_of_another_date_is_a_mismatch_and_its_full_name_is_none(self):
        await sync_to_async(store)(listing_of(DAYS[1]), {}, now=NOW)
        table = [
            ("moonshotai/kimi-k2", "moonshotai/kimi-k2-0905", True),
            ("deepseek/deepseek-r1-0528", "deepseek/deepseek-r1", True),
            ("deepseek/deepseek-v4-pro", "deepseek/deepseek-v4-pro-20260813", True),
            ("deepseek/deepseek-v4-pro", "deepseek/deepseek-v4-pro-20260423", False),
            ("anthropic/claude-sonnet-4.5:nitro", "anthropic/claude-4.5-sonnet-20250929", False),
            ("z-ai/glm-5.2:free", "z-ai/glm-5.2", False),
        ]
        for requested, served, is_mismatch in table:
            with self.subTest(f"{requested} → {served}"):
                self.alerts.clear()
                async with openrouter(answer(served)):
                    ctx = self.context(default_llm=member_llm(requested))
                    await self.play(pipeline(step("one")), [asking("one")], ctx)

                call = (await call_rows(requested_model=requested))[-1]
                assert (call.is_mismatch, len(self.alerts)) == (is_mismatch, is_mismatch)


HOSTILE = f"Deep\n\x1b[31mInfra\u202e\0 {SHARED_KEY} " + "x" * 500


class UpstreamTests(PipelineCase):
    async def test_who_ran_the_model_is_kept_however_the_gateway_says_it(self):
        refusal = {"error": {"code": 400, "message": "No.", "metadata": {"provider_name": "Groq"}}}
        broken = {"error": {"code": 502, "message": "No.", "metadata": {"provider_name": "Azure"}}}
        by_header = {"X-Provider-Name": "Together"}
        table: list[tuple[Canned, str]] = [
            (answer("a/b", provider="DeepInfra"), "DeepInfra"),
            (Canned(body=answer("a/b").body, headers=by_header), "Together"),
            (Canned(body=answer("a/b", provider="xAI").body, headers=by_header), "xAI"),
            (answer("a/b"), ""),
            (answer("a/b", provider={"name": "x"}), ""),
            (Canned(status=400, body=refusal), "Groq"),
            (Canned(status=400, body={"error": "No."}, headers=by_header), "Together"),
            (Canned(status=400, body={"error": {"metadata": ["x"]}}), ""),
            (answer("a/b", choices=None, **broken), "Azure"),
            (answer("a/b", choices=[{"finish_reason": "error", **broken}]), "Azure"),
        ]
        for reply, expected in table:
            with self.subTest(expected, body=reply.body):
                await LLMCall.objects.all().adelete()
                async with openrouter(reply):
                    ctx = self.context(default_llm=member_llm("a/b"))
                    report = await self.play(pipeline(step("one")), [asking("one")], ctx)

                calls = await call_rows()
                assert {call.upstream for call in calls} == {expected}
                assert report.steps[0].upstream == expected
                assert json.loads(_json(report))["steps"][0]["upstream"] == expected
                assert (f"run by {expected}" in _words(report)) is bool(expected)

    async def test_an_answer_that_breaks_off_still_said_in_its_header_who_gave_it(self):
        async def break_off(
            _: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            head = b"HTTP/1.1 200 OK\r\nX-Provider-Name: Novita\r\nContent-Length: 1000\r\n\r\n{"
            writer.write(head)
            await writer.drain()
            writer.close()

        async with openrouter(break_off):
            ctx = self.context(default_llm=member_llm("a/b"))
            await self.play(pipeline(step("one")), [asking("one")], ctx)

        assert [call.upstream for call in await call_rows()] == ["Novita"]

    async def test_a_strangers_name_is_kept_short_on_one_line_and_without_keys(self):
        for reply in (
            answer("a/b", provider=HOSTILE),
            Canned(status=400, body={"error": {"metadata": {"provider_name": HOSTILE}}}),
            Canned(
                body=answer("a/b").body,
                headers={"X-Provider-Name": f"Deep {SHARED_KEY} \t{'x' * 900}"},
            ),
        ):
            await LLMCall.objects.all().adelete()
            async with openrouter(reply):
                ctx = self.context(default_llm=member_llm("a/b"))
                await self.play(pipeline(step("one")), [asking("one")], ctx)

            (call,) = await call_rows()
            assert call.upstream.startswith("Deep")
            assert len(call.upstream) <= 100
            assert call.upstream.isprintable()
            assert SHARED_KEY not in call.upstream
