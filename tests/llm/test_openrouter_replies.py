from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.test import SimpleTestCase

from agents.llm.completion import Completion, CostSource, Usage
from agents.llm.errors import (
    AnswerCut,
    AnswerUnusable,
    BudgetSpent,
    KeyRejected,
    LLMError,
    ModelUnavailable,
    NoCredit,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
    RegionForbidden,
    RequestForbidden,
    RequestInvalid,
)
from tests.llm.calling import MODEL, Recorder, answer, ok, provider, refused
from tests.llm.loopback import SHARED_KEY, Canned, Reply, loopback, never, reset_mid_answer


async def completed(body: Any, *, status: int = 200) -> Completion:
    async with loopback(Canned(status=status, body=body)) as server:
        return await provider(server.base_url).complete("s", "u")


async def failed(body: Any, error_class: type[LLMError], *, status: int = 200) -> LLMError:
    with pytest.raises(error_class) as caught:
        await completed(body, status=status)
    assert type(caught.value) is error_class
    return caught.value


def choice(**changes: Any) -> dict[str, Any]:
    return {**answer()["choices"][0], **changes}


class Answering(SimpleTestCase):
    async def test_all_that_a_response_says_is_read(self):
        completion = await completed(answer("Hello."))

        assert completion.text == "Hello."
        assert completion.served_model == MODEL
        assert completion.finish_reason == "stop"
        assert completion.generation_id == "gen-1762064097-abc"
        assert completion.usage == Usage(
            input_tokens=687, output_tokens=187, cached_input_tokens=679, reasoning_tokens=118
        )
        assert completion.cost_usd == Decimal("0.00333825")
        assert completion.cost_source is CostSource.REPORTED

    async def test_a_cut_answer_is_none_and_says_so(self):
        cut: list[dict[str, Any]] = [
            {"finish_reason": "length"},
            {"finish_reason": "stop", "native_finish_reason": "MAX_TOKENS"},
            {"finish_reason": None},
            {"finish_reason": 3},
        ]
        for changes in cut:
            with self.subTest(str(changes)):
                error = await failed(answer(choices=[choice(**changes)]), AnswerCut)

                assert error.learnt is not None
                assert error.learnt.is_cut
                assert error.maybe_charged
                assert not error.retryable

    async def test_an_answer_in_parts_is_joined(self):
        parts = [{"type": "text", "text": "Hel"}, {"type": "image"}, {"type": "text", "text": "lo"}]

        assert (await completed(answer(parts))).text == "Hello"

    async def test_what_a_model_only_thought_is_no_part_of_its_answer(self):
        for kind in ("reasoning", "thinking", "reasoning_text", "redacted"):
            parts = [{"type": kind, "text": "secret"}, {"type": "text", "text": "yes"}]

            assert (await completed(answer(parts))).text == "yes"

    async def test_a_response_that_names_no_model_serves_the_unknown(self):
        models: list[Any] = [None, 7, {}]
        for model in models:
            assert (await completed(answer(model=model))).served_model == ""

    async def test_texts_that_no_database_takes_are_mended(self):
        assert (await completed(answer("a\ud83d\0b\U0001f600"))).text == "a\ufffd\ufffdb\U0001f600"

    async def test_strange_usage_is_no_usage_and_no_crash(self):
        strange: list[Any] = [None, 7, [], "much", {"prompt_tokens": -1}, {"prompt_tokens": "12"}]
        strange += [{"prompt_tokens": True}, {"prompt_tokens": 1.5}, {"prompt_tokens": 10**30}]
        strange += [{"prompt_tokens_details": [1], "completion_tokens_details": "x"}]
        for usage in strange:
            with self.subTest(str(usage)):
                completion = await completed(answer(usage=usage, id=""))

                assert completion.usage == Usage()
                assert completion.cost_usd is None
                assert completion.cost_source is CostSource.UNKNOWN


class NotAnswering(SimpleTestCase):
    async def test_an_end_without_an_answer_is_unusable(self):
        table = {
            "null choices": answer(choices=None),
            "no choices": answer(choices=[]),
            "strange choices": answer(choices="x"),
            "null choice": answer(choices=[None]),
            "null message": answer(choices=[choice(message=None)]),
            "null content": answer(None),
            "blank content": answer(" \n"),
            "content of another type": answer(7),
            "error as terminal signal": answer(choices=[choice(finish_reason="error")]),
            "no object": ["x"],
            "not JSON": b"<html>hello</html>",
            "error in mid-answer": {**answer(), "error": {"code": 400, "message": "Token limit"}},
        }
        for name, body in table.items():
            with self.subTest(name):
                error = await failed(body, AnswerUnusable)

                assert not error.retryable
                assert error.http_status == 200
                assert error.maybe_charged

    async def test_a_200_that_holds_only_an_error_is_asked_again_as_what_its_code_says(self):
        table: list[tuple[Any, type[LLMError], int]] = [
            ({"code": 502, "message": "bad upstream"}, ProviderUnavailable, 4),
            ({"message": "hm"}, AnswerUnusable, 4),
            ("hm", AnswerUnusable, 4),
            ({"code": "9" * 5000, "message": "hm"}, AnswerUnusable, 4),
            ({"code": 401, "message": "no"}, KeyRejected, 1),
            ({"code": 400, "message": "no"}, RequestInvalid, 1),
        ]
        for error, error_class, requests in table:
            with self.subTest(str(error)[:50]):
                recorder = Recorder()
                async with loopback(Canned(body={"error": error, "choices": None})) as server:
                    with pytest.raises(error_class) as caught:
                        await provider(server.base_url, recorder).complete("s", "u")

                assert type(caught.value) is error_class
                assert len(server.chats) == len(server.received) == requests
                assert [one.learnt for one in recorder.outcomes] == [None] * requests
                assert not caught.value.maybe_charged

    async def test_an_error_inside_a_200_is_what_its_code_says(self):
        table = [
            ({"code": 429, "message": "slow"}, RateLimited),
            ({"code": "502", "message": "bad upstream"}, ProviderUnavailable),
            ({"http_status": 503, "error_type": "x"}, ProviderUnavailable),
            (
                {"message": "x", "metadata": {"error_type": "provider_overloaded"}},
                ProviderUnavailable,
            ),
            ({"error_type": "payment_required", "message": "x"}, NoCredit),
            ({"code": 404, "message": "gone"}, ModelUnavailable),
            ({"code": 403, "message": "flagged"}, RequestForbidden),
        ]
        for error, error_class in table:
            for body in (
                answer(error=error, choices=None),
                answer(choices=[choice(error=error, finish_reason="error")]),
            ):
                with self.subTest(str(error)):
                    caught = await failed(body, error_class)

                    assert caught.maybe_charged
                    assert caught.learnt is not None
                    assert caught.learnt.cost_usd == Decimal("0.00333825")

    async def test_an_answer_that_had_begun_is_not_asked_for_anew_whatever_its_error_says(self):
        for words in (
            "max_tokens: 16384 > 4096, which is the maximum allowed",
            "System role not supported",
            "response_format is not supported",
            "can only afford 900",
        ):
            with self.subTest(words):
                body = answer(error={"code": 400, "message": words})
                async with loopback(Canned(body=body)) as server:
                    with pytest.raises(AnswerUnusable):
                        await provider(server.base_url).complete("s", "u")

                assert len(server.chats) == 1

    async def test_a_refusal_is_forbidden(self):
        refusal = {"role": "assistant", "content": None, "refusal": "I will not."}
        for changes in ({"message": refusal}, {"finish_reason": "content_filter"}):
            with self.subTest(str(changes)):
                error = await failed(answer(choices=[choice(**changes)]), RequestForbidden)

                assert not error.retryable


class Refusing(SimpleTestCase):
    async def test_the_kind_of_a_refusal_is_read_from_its_text_where_the_status_is_not_enough(self):
        table = [
            (400, {"message": "foo/bar is not a valid model ID"}, ModelUnavailable),
            (400, {"message": "x", "availability": {"code": "model_not_found"}}, ModelUnavailable),
            (400, {"message": "messages must not be empty"}, RequestInvalid),
            (403, {"message": "Budget exceeded for this key"}, BudgetSpent),
            (403, {"message": "Key limit exceeded (total limit)"}, BudgetSpent),
            (
                403,
                {"message": "x", "metadata": {"error_type": "payment_required"}},
                NoCredit,
            ),
            (
                403,
                {"message": "flagged: credit card", "metadata": {"reasons": ["pii"]}},
                RequestForbidden,
            ),
            (
                403,
                {"message": "x", "availability": {"code": "region_restricted"}},
                RegionForbidden,
            ),
        ]
        for status, error, error_class in table:
            with self.subTest(f"{status} {error}"):
                await failed({"error": error}, error_class, status=status)

    async def test_the_offered_models_and_the_type_are_kept(self):
        error = {
            "error_type": "not_found",
            "http_status": 404,
            "message": "deprecated",
            "availability": {
                "code": "model_deprecated",
                "retryable": False,
                "fallback_models": ["anthropic/claude-sonnet-5", None, 7],
            },
        }
        caught = await failed({"error": error}, ModelUnavailable, status=404)

        assert caught.fallback_models == ("anthropic/claude-sonnet-5",)
        assert caught.error_type == "not_found"
        assert not caught.retryable

    async def test_a_quoted_upstream_error_is_kept_short_and_on_one_line(self):
        error = {"message": "Provider returned error", "metadata": {"raw": "rate-limited\n" * 999}}
        caught = await failed({"error": error}, RateLimited, status=429)

        assert str(caught).startswith("Provider returned error: rate-limited rate-limited")
        assert len(str(caught)) == 500

    async def test_a_redirect_says_what_to_do(self):
        with pytest.raises(ProviderRejected, match="check the base URL"):
            await completed({}, status=302)

    async def test_no_shape_of_error_crashes(self):
        shapes: list[Any] = [
            None,
            7,
            [],
            "x",
            {"error": None},
            {"error": []},
            {"error": {"message": 7}},
        ]
        shapes += [{"error": {"metadata": [], "availability": 7, "code": {}}}]
        shapes += [{"error": {"availability": {"retry_after": "x", "fallback_models": {}}}}]
        shapes += [{"error": {"availability": {"constraint": 7, "code": []}}}]
        for body in shapes:
            with self.subTest(str(body)):
                await failed(body, RequestInvalid, status=400)


class Pricing(SimpleTestCase):
    async def test_the_cost_rule(self):
        table: list[tuple[str, dict[str, Any], float | None, str | None]] = [
            ("plain", {"cost": 0.5, "is_byok": False}, None, "0.5"),
            ("said twice", {"cost": 0.5, "is_byok": False}, 0.5, "0.5"),
            ("free", {"cost": 0, "is_byok": False}, None, "0"),
            ("BYOK", {"cost": 0, "is_byok": True}, 0.25, "0.25"),
            ("BYOK with a fee", {"cost": 0.0125, "is_byok": True}, 0.25, "0.2625"),
            ("BYOK without a price", {"cost": 0, "is_byok": True}, None, None),
            ("BYOK not said", {"cost": 0}, 0.25, "0.25"),
            ("BYOK not said, no price", {"cost": 0.5}, None, "0.5"),
            ("BYOK not said, said twice", {"cost": 0.5}, 0.5, "0.5"),
            ("missing", {"is_byok": False}, None, None),
            ("missing, upstream known", {"is_byok": False}, 0.25, None),
            ("negative", {"cost": -1, "is_byok": False}, None, None),
            ("a string", {"cost": "0.5", "is_byok": False}, None, None),
            ("a truth", {"cost": True, "is_byok": False}, None, None),
            ("NaN", {"cost": float("nan"), "is_byok": False}, None, None),
            ("infinite", {"cost": float("inf"), "is_byok": False}, None, None),
            ("absurd", {"cost": 1e308, "is_byok": False}, None, None),
            ("BYOK, negative price", {"cost": 0, "is_byok": True}, -1, None),
            ("exact", {"cost": 0.1, "is_byok": True}, 0.2, "0.3"),
        ]
        for name, usage, upstream, expected in table:
            with self.subTest(name):
                usage = {**usage, "cost_details": {"upstream_inference_cost": upstream}}
                completion = await completed(answer(usage=usage, id=""))

                assert completion.cost_usd == (None if expected is None else Decimal(expected))
                assert completion.cost_source == ("unknown" if expected is None else "reported")

    async def test_a_missing_cost_is_asked_for(self):
        generation = Canned(body={"data": {"total_cost": 0.002, "is_byok": False}})
        async with loopback(ok(usage={}, id="gen-1/ä&x=\ud83d"), generation) as server:
            completion = await provider(server.base_url).complete("s", "u")

        assert completion.cost_usd == Decimal("0.002")
        assert completion.cost_source is CostSource.REPORTED
        assert [request.method for request in server.received] == ["POST", "GET"]
        assert server.received[1].path == "/api/v1/generation?id=gen-1/%C3%A4%26x%3D%EF%BF%BD"
        assert server.received[1].headers["authorization"] == f"Bearer {SHARED_KEY}"

    async def test_a_cost_that_is_not_known_yet_is_asked_for_once_more(self):
        generation = Canned(body={"data": {"total_cost": 0.002, "is_byok": False}})
        async with loopback(ok(usage={}), refused(404), generation) as server:
            completion = await provider(server.base_url).complete("s", "u")

        assert completion.cost_usd == Decimal("0.002")
        assert len(server.received) == 3

    async def test_a_cost_that_stays_unknown_is_no_reason_to_lose_the_answer(self):
        table: list[tuple[Reply, int]] = [
            (refused(404), 2),
            (refused(500), 1),
            (reset_mid_answer, 1),
            (Canned(body=b"x"), 1),
            (Canned(body={"data": {"total_cost": -1}}), 1),
            (Canned(body={"data": {"total_cost": 0, "is_byok": True}}), 1),
        ]
        for reply, questions in table:
            with self.subTest(str(reply)):
                async with loopback(ok(usage={}), reply) as server:
                    completion = await provider(server.base_url).complete("s", "u")

                assert completion.text == "Hello."
                assert (completion.cost_usd, completion.cost_source) == (None, CostSource.UNKNOWN)
                assert len(server.received) == 1 + questions

    async def test_the_question_for_the_price_does_not_outlive_the_deadline(self):
        async with loopback(ok(usage={}), never) as server:
            completion = await provider(server.base_url, deadline_s=0.2).complete("s", "u")

        assert completion.text == "Hello."
        assert completion.cost_source is CostSource.UNKNOWN
