"""What became of a call whose answer was lost or told no cost, asked where the vendor tells."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.test import SimpleTestCase

from agents.llm.completion import CostSource, Usage
from agents.llm.errors import AnswerUnusable, DeadlineExceeded, ProviderUnavailable
from tests.llm.calling import Recorder, ok, refused
from tests.llm.loopback import (
    Canned,
    drip,
    loopback,
    never,
    reset_before_answer,
    reset_mid_answer,
)
from tests.llm.vendors import CLAUDE, OPENAI, OPENROUTER

GENERATION = Canned(
    body={
        "data": {
            "id": "gen-lost",
            "model": "anthropic/claude-sonnet-4.5",
            "total_cost": 0.002,
            "is_byok": False,
            "native_tokens_prompt": 12,
            "native_tokens_completion": 34,
        }
    }
)


class LosingAnAnswer(SimpleTestCase):
    async def test_the_cost_of_a_lost_answer_is_asked_for(self):
        recorder = Recorder()
        async with loopback(reset_mid_answer, GENERATION) as server:
            with pytest.raises(ProviderUnavailable) as caught:
                await OPENROUTER.provider(server.base_url, recorder).complete("s", "u")

        post, get = server.received
        assert (post.method, get.method) == ("POST", "GET")
        assert get.path == "/api/v1/generation?id=gen-lost"
        assert OPENROUTER.key_of(get) == OPENROUTER.key_of(post) == OPENROUTER.key
        learnt = caught.value.learnt
        assert learnt is recorder.outcomes[0].learnt
        assert learnt is not None
        assert (learnt.cost_usd, learnt.cost_source) == (Decimal("0.002"), CostSource.REPORTED)
        assert learnt.served_model == "anthropic/claude-sonnet-4.5"
        assert learnt.usage == Usage(input_tokens=12, output_tokens=34)
        assert (learnt.text, learnt.generation_id) == ("", "gen-lost")

    async def test_a_cost_that_nobody_tells_stays_unknown_under_its_name(self):
        for reply in (refused(404), refused(500), reset_before_answer):
            recorder = Recorder()
            async with loopback(reset_mid_answer, reply) as server:
                with pytest.raises(ProviderUnavailable) as caught:
                    await OPENROUTER.provider(server.base_url, recorder).complete("s", "u")

            learnt = caught.value.learnt
            assert learnt is not None
            assert (learnt.cost_usd, learnt.cost_source) == (None, CostSource.UNKNOWN)
            assert learnt.generation_id == "gen-lost"
            assert len(server.chats) == len(recorder.ended) == 1

    async def test_without_a_name_there_is_nothing_to_ask(self):
        async with loopback(reset_before_answer, GENERATION) as server:
            with pytest.raises(ProviderUnavailable) as caught:
                await OPENROUTER.provider(server.base_url).complete("s", "u")

        assert len(server.received) == 1
        assert caught.value.learnt is not None
        assert caught.value.learnt.cost_usd is None

    async def test_without_time_nothing_is_asked(self):
        async with loopback(drip, GENERATION) as server:
            with pytest.raises(DeadlineExceeded) as caught:
                await OPENROUTER.provider(server.base_url, deadline_s=0.2).complete("s", "u")

        assert len(server.received) == 1
        assert caught.value.learnt is not None
        assert caught.value.learnt.generation_id == "gen-lost"

    async def test_an_unusable_answer_without_a_cost_is_asked_about_too(self):
        async with loopback(ok(None, usage={}), GENERATION) as server:
            with pytest.raises(AnswerUnusable) as caught:
                await OPENROUTER.provider(server.base_url).complete("s", "u")

        assert caught.value.learnt is not None
        assert caught.value.learnt.cost_usd == Decimal("0.002")

    async def test_a_refusal_is_not_asked_about(self):
        async with loopback(refused(402), GENERATION) as server:
            with pytest.raises(Exception, match="no"):
                await OPENROUTER.provider(server.base_url).complete("s", "u")

        assert len(server.received) == 1


class SettlingLater(SimpleTestCase):
    async def test_an_earlier_call_is_settled_by_its_name(self):
        async with loopback(refused(404), GENERATION) as server:
            known = await OPENROUTER.provider(server.base_url).settle("gen-lost")

        assert known is not None
        assert known.cost_usd == Decimal("0.002")
        assert known.served_model == "anthropic/claude-sonnet-4.5"

    async def test_what_cannot_be_settled_is_none(self):
        for reply in (refused(404), refused(401), Canned(body=b"x")):
            async with loopback(reply) as server:
                assert await OPENROUTER.provider(server.base_url).settle("gen-lost") is None

    async def test_the_others_do_not_tell(self):
        async with loopback(never) as server:
            for vendor in (CLAUDE, OPENAI):
                assert await vendor.provider(server.base_url).settle("req_1") is None

        assert server.received == []
