"""What is known of models when they are asked: from the catalogue, and from what was recorded."""

from __future__ import annotations

import json
import urllib.request
from decimal import Decimal
from uuid import uuid4

from asgiref.sync import async_to_sync, sync_to_async
from django.db import OperationalError, connection
from django.test import TestCase
from django.utils import timezone

from agents.catalog import max_price, sync
from agents.llm.limits import ModelFacts
from agents.models import CatalogModel
from pipeline.models import LLMCall, PipelineRun, StepRun
from pipeline.running import model_book
from pipeline.running.model_book import ModelBook
from tests.pipeline.cases import PipelineCase, call_rows, override
from tests.pipeline.players import asking, pipeline, step

HAIKU = "anthropic/claude-haiku-4.5"


def listed(model_id: str, **fields) -> CatalogModel:
    now = timezone.now()
    given = {"name": model_id, "first_seen_at": now, "last_seen_at": now}
    return CatalogModel.objects.create(model_id=model_id, **(given | fields))


def reasoned(model_id: str, *tokens: int) -> None:
    run = PipelineRun.objects.create(pipeline="p", source="shell", started_at=timezone.now())
    step_run = StepRun.objects.create(
        run=run, position=0, agent="one", mode="sequential", started_at=timezone.now()
    )
    LLMCall.objects.bulk_create(
        LLMCall(
            id=uuid4(),
            step=step_run,
            number=1,
            provider="openrouter",
            requested_model=model_id,
            payer="shared",
            key_fingerprint="ab",
            reasoning_tokens=count,
            started_at=timezone.now(),
        )
        for count in tokens
    )


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class MaxPriceTests(TestCase):
    def test_it_is_the_highest_listed_price_and_a_quarter_more_per_million_rounded_up(self):
        table = [
            ({"prompt_usd": "0.000003", "completion_usd": "0.000015"}, ("3.75", "18.75")),
            ({"prompt_usd": "0", "completion_usd": "0"}, ("0", "0")),
            ({"prompt_usd": "0.000000000000001", "completion_usd": "0.00004"}, ("0.000001", "50")),
        ]
        for prices, expected in table:
            model = CatalogModel(**{name: Decimal(price) for name, price in prices.items()})
            most = max_price(model)

            assert most is not None
            assert (f"{most.prompt:f}", f"{most.completion:f}") == expected
            assert most.request is None

    def test_a_rule_for_long_prompts_or_for_hours_counts_where_it_is_dearer(self):
        model = CatalogModel(
            prompt_usd=Decimal("0.000003"),
            completion_usd=Decimal("0.000015"),
            request_usd=Decimal("0.01"),
            price_overrides=[
                {"min_prompt_tokens": 200_000, "prompt": "0.000006"},
                {"utc_start": "0100", "utc_end": "0200", "completion": "0.000001"},
            ],
        )
        most = max_price(model)

        assert most is not None
        assert (most.prompt, most.completion) == (Decimal("7.5"), Decimal("18.75"))
        assert most.request == Decimal("0.0125")

    def test_where_no_price_is_known_there_is_none(self):
        assert max_price(CatalogModel(prompt_usd=Decimal(1))) is None


class FactsTests(TestCase):
    async def test_what_the_catalogue_and_the_records_say(self):
        parameters = ["max_tokens", "reasoning"]
        await sync_to_async(listed)(
            "a/b", max_completion_tokens=9_000, supported_parameters=parameters
        )
        await sync_to_async(reasoned)("a/b", *range(1, 101))
        await sync_to_async(reasoned)("a/few", *range(1, 20))
        book = ModelBook()

        facts = await book.facts("openrouter", "a/b")
        assert (facts.max_output_tokens, facts.reasoning_p99_tokens) == (9_000, 99)
        assert facts.parameters == set(parameters)
        assert await book.facts("openrouter", "a/few") == ModelFacts()

    async def test_an_answer_leaves_half_of_the_context_to_the_prompt(self):
        table = [(8_192, None, 4_096), (8_192, 8_192, 4_096), (100_000, None, 16_384)]
        table += [(100_000, 9_000, 9_000)]
        for number, (context, most, expected) in enumerate(table):
            model_id = f"a/b{number}"
            fields = {"context_tokens": context, "max_completion_tokens": most}
            await sync_to_async(listed)(model_id, **fields)

            assert (await ModelBook().facts("openrouter", model_id)).max_output_tokens == expected

    async def test_a_vendors_own_names_are_found_by_openrouters(self):
        for model_id in ("anthropic/claude-sonnet-4.5", "openai/gpt-4.1"):
            await sync_to_async(listed)(
                model_id,
                max_completion_tokens=64_000,
                prompt_usd=Decimal("0.000003"),
                completion_usd=Decimal("0.000003"),
            )
        table = [
            ("claude", "claude-sonnet-4-5"),
            ("claude", "claude-sonnet-4-5-20250929"),
            ("openai", "gpt-4.1"),
            ("openai", "gpt-4.1-2025-04-14"),
        ]
        for provider, model_id in table:
            facts = await ModelBook().facts(provider, model_id)

            assert facts.max_output_tokens == 64_000
            assert facts.max_price is None, "only OpenRouter takes one"
        assert await ModelBook().facts("claude", "claude-2") == ModelFacts()

    async def test_it_is_read_once_in_a_while_and_not_for_every_call(self):
        clock = Clock()
        book = ModelBook(clock=clock)
        assert (await book.facts("openrouter", "a/b")).max_output_tokens is None
        await sync_to_async(listed)("a/b", max_completion_tokens=9_000)
        assert (await book.facts("openrouter", "a/b")).max_output_tokens is None
        clock.now += model_book.KEPT_FOR_S

        assert (await book.facts("openrouter", "a/b")).max_output_tokens == 9_000

    async def test_a_database_that_is_down_holds_nothing_against_a_model(self):
        def down(execute, sql, params, many, context):
            raise OperationalError("gone")

        clock = Clock()
        book = ModelBook(clock=clock)
        await sync_to_async(listed)("a/b", max_completion_tokens=9_000)
        known = await book.facts("openrouter", "a/b")
        clock.now += model_book.KEPT_FOR_S

        def asked_while_down() -> tuple[ModelFacts, ModelFacts]:
            with connection.execute_wrapper(down):
                facts = async_to_sync(book.facts)
                return facts("openrouter", "a/b"), facts("openrouter", "a/new")

        with self.assertLogs("pipeline.running.model_book", "WARNING"):
            assert await sync_to_async(asked_while_down)() == (known, ModelFacts())


class RisingPriceTests(PipelineCase):
    """The whole way: a run on the sandbox, whose price has changed since the last sync."""

    def reprice(self, completion: str) -> None:
        url = f"{self.sandbox_url}/openrouter/prices"
        self.addCleanup(urllib.request.urlopen, urllib.request.Request(url, method="DELETE"))
        body = json.dumps({"id": HAIKU, "completion": completion}).encode()
        urllib.request.urlopen(urllib.request.Request(url, data=body, method="POST")).close()

    async def played_at(self, completion: str) -> list[LLMCall]:
        await sync()
        await sync_to_async(self.reprice)(completion)
        await override("one", HAIKU)
        await self.play(pipeline(step("one")), [asking("one")])
        return await call_rows()

    async def test_a_price_that_rose_since_is_looked_up_and_paid(self):
        first, second = await self.played_at("0.00002")

        assert (first.cause, first.cost_usd, first.status) == ("price", None, "error")
        assert (second.cause, second.status) == ("", "ok")
        assert second.cost_usd == self.wire.calls()[1].cost_usd
        assert (await CatalogModel.objects.aget(pk=HAIKU)).completion_usd == Decimal("0.00002")

    async def test_a_small_rise_within_the_margin_is_no_question(self):
        (call,) = await self.played_at("0.000006")

        assert (call.cause, call.status) == ("", "ok")
