"""Each misbehaving model goes wrong in its own way, and only in that way."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.sandbox.calling import KEY, complete, content, json_schema

SCHEMA = json_schema({"type": "object", "properties": {"analysis": {"type": "string"}}})


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("error-500", 500),
        ("error-429", 429),
        ("no-credit", 402),
        ("forbidden", 403),
        ("retired", 404),
        ("echo-key", 401),
        ("no-such-behaviour", 400),
    ],
)
def test_a_failing_model_answers_with_its_status_and_an_error(
    shared_sandbox: httpx.Client, name: str, status: int
) -> None:
    response = complete(shared_sandbox, f"sandbox/{name}")

    assert response.status_code == response.json()["error"]["code"] == status


def test_a_rate_limited_model_says_when_to_come_back(shared_sandbox: httpx.Client) -> None:
    assert complete(shared_sandbox, "sandbox/error-429").headers["retry-after"] == "1"


def test_a_flaky_model_fails_once_for_each_prompt_and_key(shared_sandbox: httpx.Client) -> None:
    model = "sandbox/flaky-429"

    first = complete(shared_sandbox, model, "A")
    again = complete(shared_sandbox, model, "A")
    other = complete(shared_sandbox, model, "B")
    other_key = complete(shared_sandbox, model, "A", key=KEY + "-other")

    statuses = [response.status_code for response in (first, again, other, other_key)]
    assert statuses == [429, 200, 429, 429]
    assert first.headers["retry-after"] == "0"


def test_a_retired_model_names_its_successors(shared_sandbox: httpx.Client) -> None:
    availability = complete(shared_sandbox, "sandbox/retired").json()["error"]["availability"]

    assert availability["code"] == "model_deprecated"
    assert availability["retryable"] is False
    assert availability["fallback_models"]


def test_an_error_hides_inside_a_200(shared_sandbox: httpx.Client) -> None:
    in_choice = complete(shared_sandbox, "sandbox/error-in-200")
    in_body = complete(shared_sandbox, "sandbox/error-body-200")
    nothing = complete(shared_sandbox, "sandbox/null-choices")

    assert {response.status_code for response in (in_choice, in_body, nothing)} == {200}
    assert in_choice.json()["choices"][0]["error"]["code"] == 502
    assert in_choice.json()["choices"][0]["finish_reason"] == "error"
    assert in_body.json()["error"]["code"] == 502
    assert in_body.json()["choices"] is None
    assert nothing.json()["choices"] is None
    assert "error" not in nothing.json()


def test_an_answer_may_lack_its_end(shared_sandbox: httpx.Client) -> None:
    response = complete(shared_sandbox, "sandbox/no-finish")

    assert content(response)
    assert response.json()["choices"][0]["finish_reason"] is None


@pytest.mark.parametrize(
    ("asked", "served"),
    [("other-model", "openai/gpt-4o-mini"), ("dated", "sandbox/dated-20260901")],
)
def test_another_model_than_the_requested_one_answers(
    sandbox: httpx.Client, asked: str, served: str
) -> None:
    body = complete(sandbox, f"sandbox/{asked}").json()

    call = sandbox.get("/ledger").json()["calls"][0]
    assert body["model"] == call["served_model"] == served
    assert call["model"] == f"sandbox/{asked}"


def test_byok_costs_nothing_here_and_the_whole_price_upstream(sandbox: httpx.Client) -> None:
    usage = complete(sandbox, "sandbox/byok").json()["usage"]

    upstream = usage["cost_details"]["upstream_inference_cost"]
    assert usage["is_byok"] is True
    assert usage["cost"] == 0
    assert upstream > 0
    assert float(sandbox.get("/ledger").json()["calls"][0]["cost_usd"]) == upstream


def test_a_missing_cost_can_be_fetched_later(shared_sandbox: httpx.Client) -> None:
    body = complete(shared_sandbox, "sandbox/no-cost").json()

    later = shared_sandbox.get(
        f"/openrouter/api/v1/generation?id={body['id']}", headers={"authorization": f"Bearer {KEY}"}
    )
    assert "cost" not in body["usage"]
    assert later.json()["data"]["total_cost"] > 0


def test_prose_comes_where_json_was_asked_for(shared_sandbox: httpx.Client) -> None:
    text = content(complete(shared_sandbox, "sandbox/bad-json", response_format=SCHEMA))

    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


def test_broken_json_lacks_only_its_end(shared_sandbox: httpx.Client) -> None:
    text = content(complete(shared_sandbox, "sandbox/broken-json", response_format=SCHEMA))

    assert text.endswith(",")
    assert "analysis" in json.loads(text.removesuffix(",") + "}")


def test_prose_once_becomes_json_after_a_correction(shared_sandbox: httpx.Client) -> None:
    first = content(complete(shared_sandbox, "sandbox/bad-json-once", response_format=SCHEMA))
    corrected = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "Return valid JSON"},
    ]

    second = complete(
        shared_sandbox, "sandbox/bad-json-once", response_format=SCHEMA, messages=corrected
    )

    assert not first.startswith("{")
    assert "analysis" in json.loads(content(second))


def test_the_key_may_come_back_in_an_error(shared_sandbox: httpx.Client) -> None:
    assert KEY in complete(shared_sandbox, "sandbox/echo-key").json()["error"]["message"]


def test_a_refusal_ends_with_the_content_filter(shared_sandbox: httpx.Client) -> None:
    choice = complete(shared_sandbox, "sandbox/refusal").json()["choices"][0]

    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["refusal"]


def test_a_model_with_a_latency_takes_at_least_that_long(shared_sandbox: httpx.Client) -> None:
    slow = complete(shared_sandbox, "sandbox/latency-80")

    assert slow.status_code == 200
    assert slow.elapsed.total_seconds() >= 0.08
