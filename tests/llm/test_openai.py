from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.test import SimpleTestCase

from agents.llm.completion import CostSource, Usage
from agents.llm.errors import (
    AnswerCut,
    AnswerUnusable,
    KeyRejected,
    LLMError,
    ModelUnavailable,
    NoCredit,
    ProviderUnavailable,
    RateLimited,
    RequestForbidden,
    RequestInvalid,
    RequestTooLong,
)
from tests.llm.calling import SCHEMA
from tests.llm.loopback import Canned, loopback
from tests.llm.vendors import OPENAI, openai_answer


def with_choice(**changes: Any) -> Canned:
    choice = openai_answer()["choices"][0]
    return OPENAI.ok(choices=[{**choice, **changes}])


class Asking(SimpleTestCase):
    async def test_a_prompt_with_a_schema(self):
        async with loopback(OPENAI.ok()) as server:
            await OPENAI.provider(server.base_url).complete("Be kind.", "Hi", schema=SCHEMA)

        (request,) = server.received
        assert request.path == "/api/v1/chat/completions"
        assert OPENAI.key_of(request) == OPENAI.key
        assert "x-openrouter-title" not in request.headers
        assert request.body == {
            "model": "gpt-4.1",
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hi"},
            ],
            "max_completion_tokens": 16_384,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "Verdict", "strict": True, "schema": SCHEMA},
            },
        }

    async def test_a_model_without_structured_output_is_asked_by_prompt(self):
        reply = OPENAI.refused(
            400,
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported",
            param="response_format",
        )
        async with loopback(reply, OPENAI.ok('{"is_lead": true}')) as server:
            await OPENAI.provider(server.base_url).complete("Judge.", "u", schema=SCHEMA)

        sent = server.received[1].body
        assert "response_format" not in sent
        assert sent["messages"][0]["content"].startswith("Judge.\n\nAnswer with one JSON value")


class Answering(SimpleTestCase):
    async def test_all_that_a_response_says_is_read(self):
        completion = await OPENAI.completed(OPENAI.ok("Hello."))

        assert (completion.text, completion.finish_reason) == ("Hello.", "stop")
        assert completion.served_model == "gpt-4.1-2025-04-14"
        assert completion.generation_id == "id-of-header"
        assert completion.usage == Usage(
            input_tokens=1000, output_tokens=200, cached_input_tokens=400, reasoning_tokens=64
        )

    async def test_the_cost_is_estimated_with_the_cache(self):
        completion = await OPENAI.completed(OPENAI.ok())

        per_million = 600 * 2 + 400 * Decimal("0.5") + 200 * 8
        assert completion.cost_usd == per_million / 10**6
        assert completion.cost_source is CostSource.ESTIMATED

    async def test_a_cut_answer_is_none_and_says_so(self):
        for reason in ("length", None):
            error = await OPENAI.failed(with_choice(finish_reason=reason), AnswerCut)

            assert error.learnt is not None
            assert (error.learnt.finish_reason, error.learnt.is_cut) == (reason or "", True)
            assert error.maybe_charged

    async def test_an_end_without_an_answer_is_unusable_and_keeps_its_price(self):
        for reply in (
            OPENAI.ok(None),
            OPENAI.ok(choices=None),
            OPENAI.ok(error={"message": "hm", "type": "odd"}),
            OPENAI.ok(error="hm"),
        ):
            with self.subTest(str(reply.body)):
                error = await OPENAI.failed(reply, AnswerUnusable)

                assert (error.maybe_charged, error.retryable) == (True, False)
                assert error.learnt is not None
                assert error.learnt.cost_usd == Decimal("0.003")

    async def test_a_refusal_is_forbidden(self):
        refusal = {"role": "assistant", "content": None, "refusal": "I will not."}
        for changes in ({"message": refusal}, {"finish_reason": "content_filter"}):
            with self.subTest(str(changes)):
                await OPENAI.failed(with_choice(**changes), RequestForbidden)

    async def test_a_200_that_holds_only_an_error_is_what_its_code_says_and_costs_nothing(self):
        table: list[tuple[dict[str, Any], type[LLMError]]] = [
            ({"type": "server_error", "code": None}, ProviderUnavailable),
            ({"type": "requests", "code": "rate_limit_exceeded"}, RateLimited),
            ({"type": "x", "code": "insufficient_quota"}, NoCredit),
            ({"type": "x", "code": "invalid_api_key"}, KeyRejected),
        ]
        for error, error_class in table:
            with self.subTest(str(error)):
                caught = await OPENAI.failed(Canned(body={"error": error}), error_class)

                assert not caught.maybe_charged
                assert caught.retryable == issubclass(error_class, ProviderUnavailable)


class Refusing(SimpleTestCase):
    async def test_each_status_and_the_codes_that_know_better(self):
        table: list[tuple[int, dict[str, Any], type[LLMError]]] = [
            (400, {}, RequestInvalid),
            (400, {"code": "context_length_exceeded"}, RequestTooLong),
            (400, {"code": "model_not_found"}, ModelUnavailable),
            (400, {"code": "content_policy_violation"}, RequestForbidden),
            (400, {"param": "response_format"}, RequestInvalid),  # none was sent
            (401, {"code": "invalid_api_key"}, KeyRejected),
            (403, {}, RequestForbidden),
            (403, {"code": "model_not_found"}, ModelUnavailable),
            (404, {"code": "model_not_found"}, ModelUnavailable),
            (429, {"code": "rate_limit_exceeded"}, RateLimited),
            (429, {"code": "insufficient_quota"}, NoCredit),
            (400, {"type": "server_error"}, RequestInvalid),  # the status decides on another try
            (503, {"type": "server_error"}, ProviderUnavailable),
        ]
        for status, members, error_class in table:
            with self.subTest(f"{status} {members}"):
                error = await OPENAI.failed(OPENAI.refused(status, "no", **members), error_class)

                assert (str(error), error.http_status) == ("no", status)
                assert error.generation_id == "id-of-header"
                assert not error.maybe_charged

    async def test_an_empty_account_is_not_asked_again(self):
        async with loopback(OPENAI.refused(429, "no", code="insufficient_quota")) as server:
            with pytest.raises(NoCredit):
                await OPENAI.provider(server.base_url).complete("s", "u")

        assert len(server.received) == 1

    async def test_no_shape_of_error_crashes(self):
        shapes: list[Any] = [
            None,
            7,
            [],
            "x",
            {"error": None},
            {"error": {"message": 7, "code": []}},
        ]
        for body in shapes:
            with self.subTest(str(body)):
                assert str(await OPENAI.failed(Canned(status=400, body=body), RequestInvalid))


class CheckingKeys(SimpleTestCase):
    async def test_good_keys(self):
        scopes = "You have insufficient permissions. Missing scopes: api.model.read."
        for reply in (Canned(body={"object": "list", "data": []}), OPENAI.refused(403, scopes)):
            async with loopback(reply) as server:
                await OPENAI.provider(server.base_url).validate_key()

            assert server.received[0].path == "/api/v1/models"
            assert OPENAI.key_of(server.received[0]) == OPENAI.key

    async def test_a_bad_key_and_a_doubt(self):
        table: list[tuple[Canned, type[LLMError]]] = [
            (OPENAI.refused(401), KeyRejected),
            (OPENAI.refused(403, "your country is not supported"), KeyRejected),
            (OPENAI.refused(503), ProviderUnavailable),
            (Canned(body=b"<html>"), ProviderUnavailable),
        ]
        for reply, error_class in table:
            async with loopback(reply) as server:
                with pytest.raises(error_class):
                    await OPENAI.provider(server.base_url).validate_key()
