from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime

import pytest
import stamina
from django.test import SimpleTestCase

from agents.llm.completion import CostSource
from agents.llm.errors import (
    KeyRejected,
    ModelUnavailable,
    NoCredit,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
    RequestForbidden,
    RequestInvalid,
    RequestTooLong,
)
from agents.llm.retries import Deadline, RetryPolicy, retry_after_s, retrying
from tests.llm.calling import NO_WAIT, Recorder, ok, provider, refused
from tests.llm.loopback import (
    PATIENCE_S,
    Canned,
    hang_up_before_answer,
    loopback,
    nonsense,
    reset_before_answer,
    reset_mid_answer,
    unused_base_url,
)
from tests.llm.vendors import VENDORS

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


class RetryAfter(SimpleTestCase):
    def test_a_header_is_read_or_ignored(self):
        table = {
            "7": 7.0,
            " 7 ": 7.0,
            "1.5": 1.5,
            "0": 0.0,
            "3600": 60.0,
            "1e300": 60.0,
            "-5": None,
            "inf": None,
            "nan": None,
            "": None,
            "soon": None,
            "Tue, 24 Nov 2026 12:00:09 GMT": 9.0,
            "Tue, 24 Nov 2026 12:00:09 -0000": 9.0,
            "Tue, 24 Nov 2026 23:00:00 GMT": 60.0,
            "Tue, 24 Nov 2026 11:59:00 GMT": None,
            "Tue, 99 Nov 2026 11:59:00 GMT": None,
        }
        for value, expected in table.items():
            with self.subTest(value):
                assert retry_after_s({"retry-after": value}, now=NOW) == expected

    def test_milliseconds_go_first_where_they_are_told(self):
        table = {"300": 0.3, " 0 ": 0.0, "1e9": 60.0, "-1": 9.0, "soon": 9.0, "": 9.0}
        for value, expected in table.items():
            headers = {"retry-after-ms": value, "retry-after": "9"}

            assert retry_after_s(headers, now=NOW) == expected

    def test_no_header_asks_for_nothing(self):
        assert retry_after_s({}) is None


class Waiting(SimpleTestCase):
    def test_waits_double_up_to_a_limit(self):
        policy = RetryPolicy(wait_initial_s=0.5, wait_max_s=3, wait_jitter_s=0)
        error = ProviderUnavailable("")

        assert [policy.wait_s(error, number) for number in (1, 2, 3, 4)] == [0.5, 1, 2, 3]

    def test_the_providers_wish_goes_first_and_is_never_undercut(self):
        error = RateLimited("")
        error.retry_after_s = 7.0
        waits = [RetryPolicy(wait_jitter_s=0.5).wait_s(error, 1) for _ in range(50)]

        assert min(waits) >= 7.0
        assert max(waits) <= 7.5
        assert len(set(waits)) > 1, "parallel steps should not come back all at once"

    async def test_a_wait_that_does_not_fit_gives_up_at_once_with_the_last_error(self):
        error = RateLimited("busy")
        error.retry_after_s = 7.0
        calls = 0

        async def attempt() -> None:
            nonlocal calls
            calls += 1
            raise error

        with pytest.raises(RateLimited, match="busy"):
            await retrying(attempt, policy=NO_WAIT, deadline=Deadline.in_seconds(5))

        assert calls == 1

    async def test_what_is_no_llm_error_is_not_repeated(self):
        calls = 0

        async def attempt() -> None:
            nonlocal calls
            calls += 1
            raise OSError("the disk is full")

        with pytest.raises(OSError, match="disk"):
            await retrying(attempt, policy=NO_WAIT, deadline=Deadline.in_seconds(5))

        assert calls == 1

    def test_a_deadline_runs_out(self):
        assert Deadline.in_seconds(-1).remaining_s < 0
        assert math.isclose(Deadline.in_seconds(10).remaining_s, 10, abs_tol=0.1)


class Deciding(SimpleTestCase):
    async def test_each_status_is_repeated_or_not(self):
        table = {
            400: (RequestInvalid, 1),
            401: (KeyRejected, 1),
            402: (NoCredit, 1),
            403: (RequestForbidden, 1),
            404: (ModelUnavailable, 1),
            405: (ProviderRejected, 1),
            408: (ProviderUnavailable, 4),
            409: (ProviderUnavailable, 4),
            413: (RequestTooLong, 1),
            422: (RequestInvalid, 1),
            429: (RateLimited, 4),
            500: (ProviderUnavailable, 4),
            502: (ProviderUnavailable, 4),
            503: (ProviderUnavailable, 4),
            524: (ProviderUnavailable, 4),
            529: (ProviderUnavailable, 4),
            307: (ProviderRejected, 1),
        }
        for status, (error_class, attempts) in table.items():
            for body in ({"error": {"code": status, "message": "no"}}, b"<html>no</html>"):
                if status == 403 and isinstance(body, bytes):  # a network's in front of the vendor
                    error_class, attempts = ProviderUnavailable, 4
                with self.subTest(f"{status} {body!r}"):
                    recorder = Recorder()
                    async with loopback(Canned(status=status, body=body)) as server:
                        with pytest.raises(error_class) as caught:
                            await provider(server.base_url, recorder).complete("s", "u")

                    assert type(caught.value) is error_class
                    assert caught.value.http_status == status
                    assert not caught.value.maybe_charged
                    assert len(server.received) == len(recorder.ended) == attempts

    async def test_a_request_whose_fate_nobody_knows_is_not_repeated(self):
        for misbehaviour in (
            reset_before_answer,
            hang_up_before_answer,
            reset_mid_answer,
            nonsense,
        ):
            for vendor in VENDORS:
                with self.subTest(f"{vendor.name} {misbehaviour.__name__}"):
                    recorder = Recorder()
                    async with loopback(misbehaviour, vendor.ok("Twice.")) as server:
                        with pytest.raises(ProviderUnavailable) as caught:
                            await vendor.provider(server.base_url, recorder).complete("s", "u")

                    assert caught.value.maybe_charged
                    assert len(server.chats) == 1
                    (outcome,) = recorder.outcomes
                    assert outcome.error is caught.value
                    assert outcome.http_status is None
                    assert outcome.learnt is not None
                    assert outcome.learnt.cost_source is CostSource.UNKNOWN

    async def test_a_lost_answer_is_not_replaced_by_the_fallback_models(self):
        async with loopback(reset_before_answer, ok("Twice.")) as server:
            llm = provider(server.base_url, fallback_model="openai/gpt-5-mini")
            with pytest.raises(ProviderUnavailable):
                await llm.complete("s", "u")

        assert len(server.chats) == 1

    async def test_a_refused_connection_is_repeated_and_costs_nothing(self):
        recorder = Recorder()

        with pytest.raises(ProviderUnavailable):
            await provider(unused_base_url(), recorder).complete("s", "u")

        errors = [outcome.error for outcome in recorder.outcomes]
        assert [error and error.maybe_charged for error in errors] == [False] * 4

    async def test_availability_decides_where_it_speaks(self):
        table = [
            (404, {"code": "model_unavailable_upstream", "retryable": True}, 4),
            (429, {"code": "capacity_exhausted", "retryable": False}, 1),
            (503, {"code": "temporarily_unavailable", "retryable": True, "retry_after": 0}, 4),
            (503, {"code": "temporarily_unavailable", "retryable": "yes"}, 4),
            (503, {"code": "temporarily_unavailable", "retryable": True, "retry_after": 30}, 1),
        ]
        for status, availability, attempts in table:
            with self.subTest(f"{status} {availability}"):
                async with loopback(refused(status, availability=availability)) as server:
                    with pytest.raises((ModelUnavailable, ProviderUnavailable)):
                        await provider(server.base_url).complete("s", "u")

                assert len(server.received) == attempts

    async def test_a_cancellation_ends_the_wait(self):
        recorder = Recorder()
        async with loopback(Canned(status=429, body={}, headers={"Retry-After": "3"})) as server:
            call = asyncio.create_task(provider(server.base_url, recorder).complete("s", "u"))
            async with asyncio.timeout(PATIENCE_S):
                while not recorder.ended:  # noqa: ASYNC110 - the wait begins right after it
                    await asyncio.sleep(0.001)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call

        assert recorder.order == ["started 1", "ended 1"]

    async def test_staminas_test_mode_takes_the_waits_away(self):
        async with loopback(refused(500)) as server:
            with stamina.set_testing(True, attempts=3), pytest.raises(ProviderUnavailable):
                await provider(server.base_url, retries=RetryPolicy()).complete("s", "u")

        assert len(server.received) == 3

    async def test_no_wait_is_a_wish_too(self):
        at_once = Canned(status=429, body={}, headers={"Retry-After": "0"})
        patient = RetryPolicy(wait_initial_s=60, wait_max_s=60, wait_jitter_s=0)
        async with loopback(at_once, ok()) as server:
            completion = await provider(server.base_url, retries=patient).complete("s", "u")

        assert completion.text == "Hello."

    async def test_the_header_is_honoured(self):
        busy = Canned(status=429, body={}, headers={"Retry-After": "0.03"})
        async with loopback(busy, ok()) as server:
            completion = await provider(server.base_url).complete("s", "u")

        assert completion.text == "Hello."
