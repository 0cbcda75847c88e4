"""Each failure of OpenRouter has the real one's status, headers and words, and no bill."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest

from tests.sandbox.calling import complete, last_call


@pytest.mark.parametrize(
    ("name", "status", "error_type"),
    [
        ("budget", 403, "permission_denied"),
        ("error-408", 408, "timeout"),
        ("error-413", 413, "payload_too_large"),
        ("error-422", 422, "unprocessable"),
        ("error-429", 429, "rate_limit_exceeded"),
        ("error-500", 500, "server"),
        ("error-502", 502, "provider_unavailable"),
        ("unavailable-503", 503, "provider_unavailable"),
        ("error-504", 504, "timeout"),
        ("error-524", 524, "timeout"),
        ("error-529", 529, "provider_overloaded"),
    ],
)
def test_a_failure_has_its_status_and_type_and_is_not_billed(
    shared_sandbox: httpx.Client, name: str, status: int, error_type: str
) -> None:
    response = complete(shared_sandbox, f"sandbox/{name}")

    error, call = response.json()["error"], last_call(shared_sandbox)
    assert response.status_code == error["code"] == call["status"] == status
    assert error["metadata"]["error_type"] == error_type
    assert (call["cost_usd"], call["served_model"]) == ("0", None)


@pytest.mark.parametrize(
    ("name", "retry_after"),
    [
        ("error-429", "1"),
        ("error-429-bare", None),
        ("error-429-huge", "31536000"),
        ("error-429-garbage", "soon"),
    ],
)
def test_a_rate_limit_says_when_to_come_back_or_does_not(
    shared_sandbox: httpx.Client, name: str, retry_after: str | None
) -> None:
    response = complete(shared_sandbox, f"sandbox/{name}")

    assert response.status_code == 429
    assert response.headers.get("retry-after") == retry_after


def test_a_rate_limit_may_name_a_date(shared_sandbox: httpx.Client) -> None:
    response = complete(shared_sandbox, "sandbox/error-429-date")

    when = parsedate_to_datetime(response.headers["retry-after"])
    assert response.headers["retry-after"].endswith(" GMT")
    assert abs((when - datetime.now(UTC)).total_seconds()) < 10


def test_a_spent_budget_is_a_403_without_moderation(shared_sandbox: httpx.Client) -> None:
    error = complete(shared_sandbox, "sandbox/budget").json()["error"]

    assert "Budget exceeded" in error["message"]
    assert "reasons" not in error["metadata"]


def test_an_unknown_model_has_the_real_words(shared_sandbox: httpx.Client) -> None:
    response = complete(shared_sandbox, "sandbox/unknown-model")

    assert response.status_code == 400
    assert response.json()["error"]["message"].endswith("is not a valid model ID")


def test_a_retired_model_is_told_in_both_spellings(shared_sandbox: httpx.Client) -> None:
    older = complete(shared_sandbox, "sandbox/retired")
    newer = complete(shared_sandbox, "sandbox/retired-by-type")

    assert older.status_code == newer.status_code == 404
    assert older.json()["error"]["code"] == 404
    error = newer.json()["error"]
    assert "code" not in error
    assert (error["error_type"], error["http_status"]) == ("not_found", 404)
    assert error["availability"]["code"] == "model_deprecated"


def test_a_model_that_is_away_for_a_while_says_so_in_the_body_only(
    shared_sandbox: httpx.Client,
) -> None:
    response = complete(shared_sandbox, "sandbox/unavailable-503")

    availability = response.json()["error"]["availability"]
    assert (availability["code"], availability["retryable"]) == ("temporarily_unavailable", True)
    assert availability["retry_after"] == 1
    assert "retry-after" not in response.headers
