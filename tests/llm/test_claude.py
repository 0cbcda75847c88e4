from __future__ import annotations

import base64
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
from tests.llm.loopback import Canned, Reply, loopback
from tests.llm.vendors import CLAUDE, claude_answer

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 20).decode()


class Asking(SimpleTestCase):
    async def sent(self, *prompt: str, **options: Any) -> Any:
        async with loopback(CLAUDE.ok()) as server:
            await CLAUDE.provider(server.base_url).complete(*prompt, **options)
        return server.received[0]

    async def test_a_plain_prompt(self):
        request = await self.sent("Be kind.", "Hi")

        assert request.path == "/api/v1/v1/messages", "the base URL is the test's"
        assert request.headers["anthropic-version"] == "2023-06-01"
        assert CLAUDE.key_of(request) == CLAUDE.key
        assert request.body == {
            "model": "claude-sonnet-4-5",
            "max_tokens": 4096,
            "system": "Be kind.",
            "messages": [{"role": "user", "content": "Hi"}],
        }

    async def test_an_empty_system_prompt_is_left_out(self):
        assert "system" not in (await self.sent("", "Hi")).body

    async def test_a_schema_is_an_output_format(self):
        body = (await self.sent("s", "u", schema=SCHEMA)).body

        assert body["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}

    async def test_a_picture_stands_before_the_text_or_alone(self):
        source = {"type": "base64", "media_type": "image/png", "data": PNG}
        picture = {"type": "image", "source": source}
        table: list[tuple[str, list[dict[str, Any]]]] = [
            ("What is it?", [picture, {"type": "text", "text": "What is it?"}]),
            (" \n", [picture]),
        ]
        for text, content in table:
            body = (await self.sent("s", text, image_b64=PNG)).body

            assert body["messages"] == [{"role": "user", "content": content}]

    async def test_a_model_without_structured_output_is_asked_by_prompt(self):
        for message in (
            "output_config.format: Extra inputs are not permitted",
            "'claude-3-haiku-20240307' does not support output format.",
            "Structured outputs are not available for this model",
        ):
            with self.subTest(message):
                reply = CLAUDE.refused(400, message)
                async with loopback(reply, CLAUDE.ok('{"is_lead": true}')) as server:
                    llm = CLAUDE.provider(server.base_url)
                    completion = await llm.complete("Judge.", "u", schema=SCHEMA)

                assert completion.json() == {"is_lead": True}
                assert "output_config" not in server.received[1].body
                assert server.received[1].body["system"].startswith("Judge.\n\nAnswer with one")


class Answering(SimpleTestCase):
    async def test_all_that_a_response_says_is_read(self):
        completion = await CLAUDE.completed(CLAUDE.ok("Hello."))

        assert (completion.text, completion.finish_reason) == ("Hello.", "end_turn")
        assert completion.served_model == "claude-sonnet-4-5-20250929"
        assert completion.generation_id == "id-of-header"
        assert completion.usage == Usage(
            input_tokens=2905,
            output_tokens=68,
            cached_input_tokens=2000,
            cache_write_input_tokens=100,
        )

    async def test_the_cost_is_estimated_with_the_cache(self):
        completion = await CLAUDE.completed(CLAUDE.ok())

        per_million = 805 * 3 + 100 * Decimal("3.75") + 2000 * Decimal("0.3") + 68 * 15
        assert completion.cost_usd == per_million / 10**6
        assert completion.cost_source is CostSource.ESTIMATED

    async def test_without_the_header_the_message_names_the_call(self):
        assert (await CLAUDE.completed(Canned(body=claude_answer()))).generation_id == "msg_01NH"

    async def test_an_answer_that_reached_its_limit_is_none(self):
        for reason in ("max_tokens", "model_context_window_exceeded"):
            error = await CLAUDE.failed(CLAUDE.ok(stop_reason=reason), AnswerCut)

            assert error.learnt is not None
            assert error.learnt.is_cut
            assert (error.learnt.text, error.learnt.finish_reason) == ("Hello.", reason)

    async def test_blocks_of_text_are_joined_and_others_passed_over(self):
        blocks = [{"type": "thinking", "thinking": "Hm."}, "x", {"type": "text", "text": "Hel"}]
        blocks += [{"type": "text", "text": "lo"}, {"type": "text", "text": None}]

        assert (await CLAUDE.completed(CLAUDE.ok(content=blocks))).text == "Hello"

    async def test_strange_usage_is_no_usage_and_no_crash(self):
        strange: list[Any] = [None, 7, [], {"input_tokens": -1}, {"input_tokens": "12"}]
        for usage in strange:
            completion = await CLAUDE.completed(CLAUDE.ok(usage=usage))

            assert completion.usage == Usage()
            assert (completion.cost_usd, completion.cost_source) == (None, CostSource.UNKNOWN)


class NotAnswering(SimpleTestCase):
    async def test_an_end_without_an_answer_is_unusable(self):
        table: dict[str, dict[str, Any]] = {
            "null content": {"content": None},
            "no content": {"content": []},
            "strange content": {"content": "x"},
            "blank content": {"content": [{"type": "text", "text": " "}]},
            "a turn to go on with": {"stop_reason": "pause_turn"},
            "a tool that we never offered": {"stop_reason": "tool_use"},
            "an error of no known type": {"error": {"type": "odd", "message": "hm"}},
            "an error of another shape": {"error": "hm"},
        }
        for name, changes in table.items():
            with self.subTest(name):
                error = await CLAUDE.failed(CLAUDE.ok(**changes), AnswerUnusable)

                assert (error.maybe_charged, error.retryable) == (True, False)
                assert error.learnt is not None
                assert error.learnt.cost_source is CostSource.ESTIMATED

    async def test_a_200_that_holds_only_an_error_is_what_its_type_says_and_costs_nothing(self):
        table: dict[str, type[LLMError]] = {
            "overloaded_error": ProviderUnavailable,
            "api_error": ProviderUnavailable,
            "rate_limit_error": RateLimited,
            "not_found_error": ModelUnavailable,
            "billing_error": NoCredit,
        }
        for kind, error_class in table.items():
            with self.subTest(kind):
                body = {"type": "error", "error": {"type": kind, "message": "Overloaded"}}
                error = await CLAUDE.failed(Canned(body=body), error_class)

                assert not error.maybe_charged
                assert error.retryable == issubclass(error_class, ProviderUnavailable)
                assert error.learnt is None
                assert error.error_type == kind

    async def test_a_refusal_says_why(self):
        details = {"type": "refusal", "category": "x", "explanation": "I cannot help."}
        for changes, text in (
            ({"stop_details": details}, "the model refused: I cannot help."),
            ({}, "the model refused: it says no more"),
        ):
            refusal = CLAUDE.ok(stop_reason="refusal", **changes)

            assert str(await CLAUDE.failed(refusal, RequestForbidden)) == text


class Refusing(SimpleTestCase):
    async def test_each_status_and_the_texts_that_know_better(self):
        table: list[tuple[int, str, type[LLMError]]] = [
            (400, "messages: Field required", RequestInvalid),
            (400, "Your credit balance is too low to access the Anthropic API.", NoCredit),
            (400, "output_config.format.schema: bad", RequestInvalid),  # none was sent
            (401, "invalid x-api-key", KeyRejected),
            (402, "billing", NoCredit),
            (403, "permission", RequestForbidden),
            (404, "model: claude-sonet-4-5", ModelUnavailable),
            (413, "too large", RequestTooLong),
            (429, "rate limit", RateLimited),
            (529, "Overloaded", ProviderUnavailable),
        ]
        for status, message, error_class in table:
            with self.subTest(f"{status} {message}"):
                error = await CLAUDE.failed(CLAUDE.refused(status, message), error_class)

                assert (str(error), error.http_status) == (message, status)
                assert error.generation_id == "id-of-header"
                assert not error.maybe_charged

    async def test_no_shape_of_error_crashes(self):
        shapes: list[Any] = [
            None,
            7,
            [],
            "x",
            {"error": None},
            {"error": {"message": 7, "type": []}},
        ]
        for body in shapes:
            with self.subTest(str(body)):
                error = await CLAUDE.failed(Canned(status=400, body=body), RequestInvalid)

                assert str(error) in ("HTTP 400", "x")


class CheckingKeys(SimpleTestCase):
    async def test_a_good_key(self):
        async with loopback(Canned(body={"data": [], "has_more": False})) as server:
            await CLAUDE.provider(server.base_url).validate_key()

        (request,) = server.received
        assert (request.method, request.path) == ("GET", "/api/v1/v1/models")
        assert request.headers["anthropic-version"] == "2023-06-01"
        assert CLAUDE.key_of(request) == CLAUDE.key

    async def test_a_bad_key_and_a_doubt(self):
        table: list[tuple[Reply, type[LLMError]]] = [
            (CLAUDE.refused(401), KeyRejected),
            (CLAUDE.refused(403), KeyRejected),
            (CLAUDE.refused(500), ProviderUnavailable),
            (Canned(body={"data": {}}), ProviderUnavailable),
            (Canned(body=b"<html>"), ProviderUnavailable),
        ]
        for reply, error_class in table:
            async with loopback(reply) as server:
                with pytest.raises(error_class):
                    await CLAUDE.provider(server.base_url).validate_key()
