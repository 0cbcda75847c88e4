"""Answers of OpenRouter that break after they have begun, as a stream and as one body."""

from __future__ import annotations

from decimal import Decimal

import httpx

from tests.sandbox.calling import complete, content, last_call


def bill(client: httpx.Client) -> Decimal:
    return Decimal(last_call(client)["cost_usd"])


def test_the_documented_error_in_one_body_is_in_the_choice(shared_sandbox: httpx.Client) -> None:
    choice = complete(shared_sandbox, "sandbox/stream-error-documented").json()["choices"][0]

    assert choice["finish_reason"] == "error"
    assert choice["error"]["metadata"]["error_type"] == "rate_limit_exceeded"
    assert choice["message"]["content"]
    assert bill(shared_sandbox) == 0


def test_the_recorded_error_in_one_body_is_at_the_top(shared_sandbox: httpx.Client) -> None:
    body = complete(shared_sandbox, "sandbox/stream-error-recorded").json()

    assert body["error"]["code"] == 400
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["cost"] == float(bill(shared_sandbox)) > 0


def test_a_cut_answer_in_one_body_has_no_finish(shared_sandbox: httpx.Client) -> None:
    response = complete(shared_sandbox, "sandbox/stream-cut")

    assert content(response)
    assert response.json()["choices"][0]["finish_reason"] is None
