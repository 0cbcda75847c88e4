from __future__ import annotations

import asyncio
import re
import time
from uuid import UUID

import pytest
from django.test import SimpleTestCase

from agents.llm.base import Payer, StepScope
from agents.llm.calls import ends_recorded
from agents.llm.completion import CostSource
from agents.llm.errors import (
    AnswerUnusable,
    DeadlineExceeded,
    KeyRejected,
    LLMError,
    ModelUnavailable,
    NoCredit,
    ProviderUnavailable,
    RequestTooLong,
    SchemaUnsupported,
)
from agents.llm.keys import KeyUnreadable, SealedKey, fingerprint
from tests.llm.calling import MODEL, SCHEMA, Recorder, ok, provider, refused
from tests.llm.loopback import PATIENCE_S, SHARED_KEY, Canned, Reply, drip, loopback, never

FALLBACK = "openai/gpt-5-mini"
NO_ENDPOINT = "No endpoints found that can handle the requested parameters."


class Observing(SimpleTestCase):
    async def test_an_attempt_is_told_before_it_leaves_and_after_it_ended(self):
        class Watcher(Recorder):
            async def attempt_started(self, attempt):
                assert server.received == []
                await super().attempt_started(attempt)

        recorder = Watcher()
        async with loopback(ok()) as server:
            llm = provider(server.base_url, recorder, payer=Payer.SHARED)
            completion = await llm.complete("Be kind.", "Hi", image_b64="R0lGODlh")

        (attempt,) = recorder.started
        assert recorder.order == ["started 1", "ended 1"]
        assert (attempt.number, attempt.provider, attempt.requested_model) == (
            1,
            "openrouter",
            MODEL,
        )
        assert attempt.payer is Payer.SHARED
        assert attempt.key_fingerprint == fingerprint(SHARED_KEY)
        assert (attempt.system_prompt, attempt.user_message) == ("Be kind.", "Hi")
        assert attempt.has_image
        assert not attempt.is_fallback
        ((same_attempt, outcome),) = recorder.ended
        assert same_attempt is attempt
        assert outcome.completion == completion
        assert (outcome.error, outcome.http_status, outcome.cancelled) == (None, 200, False)
        assert 0 <= outcome.latency_ms < 2000

    async def test_every_attempt_has_an_id_of_its_own_and_says_whose_it_is(self):
        recorder = Recorder()
        async with loopback(refused(500), refused(500), ok()) as server:
            await provider(server.base_url, recorder).complete("s", "u")

        sent = [UUID(request.headers["x-observatory-call"]) for request in server.received]
        assert sent == [attempt.call_id for attempt in recorder.started]
        assert len(set(sent)) == 3
        assert [attempt.number for attempt in recorder.started] == [1, 2, 3]
        for request in server.received:
            assert request.headers["x-observatory-agent"] == "strategist"
            assert request.headers["x-observatory-step"] == "step-7"
            assert request.headers["x-openrouter-title"] == "Observatory"

    async def test_without_a_record_nothing_is_sent(self):
        class Broken(Recorder):
            async def attempt_started(self, attempt):
                raise OSError("the disk is full")

        async with loopback(ok()) as server:
            with pytest.raises(OSError, match="the disk is full"):
                await provider(server.base_url, Broken()).complete("s", "u")

        assert server.received == []

    async def test_an_end_that_cannot_be_recorded_is_not_passed_over(self):
        class Broken(Recorder):
            async def attempt_ended(self, attempt, outcome):
                raise OSError("the disk is full")

        for reply in (ok(), refused(401)):
            async with loopback(reply) as server:
                with pytest.raises(OSError, match="the disk is full"):
                    await provider(server.base_url, Broken()).complete("s", "u")

            assert len(server.received) == 1

    async def test_a_key_that_cannot_be_read_ends_the_attempt_with_that(self):
        recorder = Recorder()
        moved = SealedKey(owner="1", provider="openrouter", ciphertext="junk", fingerprint="ab")
        async with loopback(ok()) as server:
            with pytest.raises(KeyUnreadable):
                await provider(server.base_url, recorder, api_key=moved).complete("s", "u")

        assert server.received == []
        assert isinstance(recorder.outcomes[0].error, KeyUnreadable)

    async def test_for_step_binds_a_copy(self):
        one = provider("http://127.0.0.1:1")
        other = one.for_step(StepScope(agent="trainer"))

        assert (one.scope.agent, other.scope.agent) == ("strategist", "trainer")
        assert type(other) is type(one)
        assert (other.model_id, other.api_key, other.base_url) == (
            one.model_id,
            one.api_key,
            one.base_url,
        )


class Cancelling(SimpleTestCase):
    async def test_a_cancelled_attempt_is_recorded_and_the_connection_is_cut(self):
        recorder = Recorder()
        async with loopback(never) as server:
            call = asyncio.create_task(provider(server.base_url, recorder).complete("s", "u"))
            await server.arrived.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.wait_for(server.hung_up.wait(), 2)

        assert recorder.order == ["started 1", "ended 1"]
        assert recorder.outcomes[0].cancelled
        assert recorder.outcomes[0].error is None
        assert len(server.received) == 1

    async def test_a_cancellation_while_the_end_is_recorded_waits_for_the_record(self):
        recording, written = asyncio.Event(), asyncio.Event()

        class Slow(Recorder):
            async def attempt_ended(self, attempt, outcome):
                recording.set()
                await written.wait()
                await super().attempt_ended(attempt, outcome)

        recorder = Slow()
        async with loopback(ok()) as server:
            call = asyncio.create_task(provider(server.base_url, recorder).complete("s", "u"))
            await recording.wait()
            call.cancel()
            written.set()
            with pytest.raises(asyncio.CancelledError):
                await call

        assert recorder.outcomes[0].completion is not None, "it was answered and paid"

    async def test_the_end_of_a_call_that_was_cancelled_twice_can_be_waited_for(self):
        recording, written = asyncio.Event(), asyncio.Event()

        class Slow(Recorder):
            async def attempt_ended(self, attempt, outcome):
                recording.set()
                await written.wait()
                await super().attempt_ended(attempt, outcome)

        recorder = Slow()
        async with loopback(ok()) as server:
            call = asyncio.create_task(provider(server.base_url, recorder).complete("s", "u"))
            await recording.wait()
            for _ in range(2):
                call.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await call
            assert recorder.outcomes == []

            asyncio.get_running_loop().call_soon(written.set)
            await ends_recorded(PATIENCE_S)

        assert recorder.outcomes[0].completion is not None, "it was answered and paid"

    async def test_a_record_that_fails_does_not_swallow_the_cancellation(self):
        class Broken(Recorder):
            async def attempt_ended(self, attempt, outcome):
                raise OSError("the disk is full")

        async with loopback(never) as server:
            call = asyncio.create_task(provider(server.base_url, Broken()).complete("s", "u"))
            await server.arrived.wait()
            call.cancel()
            with (
                self.assertLogs("agents.llm.calls", "ERROR") as logged,
                pytest.raises(asyncio.CancelledError),
            ):
                await call

        assert "the disk is full" in logged.output[0]


class Deadlines(SimpleTestCase):
    async def test_one_deadline_holds_for_all_attempts_together(self):
        recorder = Recorder()
        started = time.monotonic()
        async with loopback(refused(500), drip) as server:
            with pytest.raises(DeadlineExceeded) as caught:
                await provider(server.base_url, recorder, deadline_s=0.15).complete("s", "u")

        assert time.monotonic() - started < 10
        assert len(recorder.ended) == 2
        assert recorder.outcomes[1].error is caught.value
        assert (caught.value.provider, caught.value.model_id) == ("openrouter", MODEL)

    async def test_no_time_means_no_attempt(self):
        recorder = Recorder()
        async with loopback(ok()) as server:
            with pytest.raises(DeadlineExceeded):
                await provider(server.base_url, recorder, deadline_s=0).complete("s", "u")

        assert server.received == []
        assert recorder.order == []


class FallingBack(SimpleTestCase):
    async def test_a_model_that_fails_for_good_is_replaced_for_this_call(self):
        failures = {
            "unknown": (refused(400, "x/y is not a valid model ID"),),
            "retired": (refused(404, "No endpoints found"),),
            "no credit": (refused(402, "Insufficient credits"),),
            "guardrail": (refused(403, "flagged", metadata={"reasons": ["violence"]}),),
            "overloaded": (refused(529),) * 4,
            "no answer": (ok(None),),
            "a wait that does not fit": (
                Canned(status=429, body={}, headers={"Retry-After": "30"}),
            ),
        }
        for name, replies in failures.items():
            with self.subTest(name):
                recorder = Recorder()
                async with loopback(*replies, ok(model=FALLBACK)) as server:
                    llm = provider(server.base_url, recorder, fallback_model=FALLBACK)
                    completion = await llm.complete("s", "u")

                *failed, last = recorder.started
                assert completion.served_model == FALLBACK
                assert (last.requested_model, last.is_fallback) == (FALLBACK, True)
                assert {(each.requested_model, each.is_fallback) for each in failed} == {
                    (MODEL, False)
                }
                assert [each.number for each in recorder.started] == list(
                    range(1, len(replies) + 2)
                )
                assert len({each.key_fingerprint for each in recorder.started}) == 1
                assert [each.body["model"] for each in server.received][-1] == FALLBACK
                authorizations = {each.headers["authorization"] for each in server.received}
                assert authorizations == {f"Bearer {SHARED_KEY}"}

    async def test_what_any_model_would_refuse_is_not_asked_again(self):
        table: dict[type[LLMError], Reply] = {
            KeyRejected: refused(401),
            RequestTooLong: refused(413),
            DeadlineExceeded: never,
        }
        for error_class, reply in table.items():
            with self.subTest(error_class.__name__):
                async with loopback(reply) as server:
                    llm = provider(server.base_url, fallback_model=FALLBACK, deadline_s=0.2)
                    with pytest.raises(error_class):
                        await llm.complete("s", "u")

                assert len(server.received) == 1

    async def test_a_failing_fallback_fails_the_call_with_its_own_error(self):
        async with loopback(refused(404), refused(402)) as server:
            llm = provider(server.base_url, fallback_model=FALLBACK)
            with pytest.raises(NoCredit) as caught:
                await llm.complete("s", "u")

        assert caught.value.model_id == FALLBACK
        assert isinstance(caught.value.__context__, ModelUnavailable)

    async def test_without_a_fallback_or_with_the_same_the_call_fails(self):
        for fallback_model in ("", MODEL):
            async with loopback(refused(404)) as server:
                with pytest.raises(ModelUnavailable):
                    await provider(server.base_url, fallback_model=fallback_model).complete(
                        "s", "u"
                    )

            assert len(server.received) == 1

    async def test_the_fallback_gets_no_time_of_its_own(self):
        async with loopback(refused(404), never) as server:
            llm = provider(server.base_url, fallback_model=FALLBACK, deadline_s=0.2)
            started = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                await llm.complete("s", "u")

        assert time.monotonic() - started < 10


class SchemasInWords(SimpleTestCase):
    async def test_a_model_without_structured_output_is_asked_by_prompt(self):
        table = [
            refused(404, NO_ENDPOINT),
            refused(400, "This model does not support response_format json_schema"),
            refused(
                404,
                "filtered",
                availability={
                    "code": "constraint_filtered",
                    "retryable": False,
                    "constraint": {"field": "provider.require_parameters", "detail": "…"},
                },
            ),
        ]
        for reply in table:
            with self.subTest(reply.body["error"]["message"]):
                recorder = Recorder()
                async with loopback(reply, ok('{"is_lead": true}')) as server:
                    llm = provider(server.base_url, recorder)
                    completion = await llm.complete("Judge.", "u", schema=SCHEMA)

                first, second = server.received
                assert completion.json() == {"is_lead": True}
                assert "response_format" in first.body
                assert "response_format" not in second.body
                assert "provider" not in second.body
                sent = second.body["messages"][0]["content"]
                assert sent.startswith("Judge.\n\nAnswer with one JSON value")
                assert '"is_lead"' in sent
                assert [each.system_prompt for each in recorder.started] == ["Judge.", sent]
                assert isinstance(recorder.outcomes[0].error, SchemaUnsupported)

    async def test_a_model_that_is_gone_is_not_asked_by_prompt(self):
        async with loopback(refused(404, "No endpoints found for x/y")) as server:
            with pytest.raises(ModelUnavailable):
                await provider(server.base_url).complete("s", "u", schema=SCHEMA)

        assert len(server.received) == 1

    async def test_without_a_schema_the_same_text_is_a_missing_model(self):
        async with loopback(refused(404, NO_ENDPOINT)) as server:
            with pytest.raises(ModelUnavailable):
                await provider(server.base_url).complete("s", "u")

        assert len(server.received) == 1


class Learning(SimpleTestCase):
    async def test_an_unusable_answer_still_tells_its_price(self):
        recorder = Recorder()
        async with loopback(ok(None)) as server:
            with pytest.raises(AnswerUnusable) as caught:
                await provider(server.base_url, recorder).complete("s", "u")

        (outcome,) = recorder.outcomes
        assert outcome.completion is None
        assert outcome.learnt is caught.value.learnt
        assert outcome.learnt is not None
        assert str(outcome.learnt.cost_usd) == "0.00333825"
        assert outcome.learnt.cost_source is CostSource.REPORTED
        assert outcome.http_status == 200
        assert caught.value.maybe_charged
        assert caught.value.generation_id == "gen-1762064097-abc"

    async def test_errors_speak_to_members_without_the_vendors_words(self):
        async with loopback(refused(500, f"secret sauce {SHARED_KEY}")) as server:
            with pytest.raises(ProviderUnavailable) as caught:
                await provider(server.base_url).complete("s", "u")

        assert re.fullmatch(r"secret sauce \[key hidden\]", str(caught.value))
        assert "secret" not in caught.value.member_line
