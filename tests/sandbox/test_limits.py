"""The stand-ins hold to what a request limits: tokens of output, and dollars."""

from __future__ import annotations

import httpx
import pytest

from tests.sandbox.calling import ask_claude, ask_openai, complete

MODEL = "openai/gpt-4o-mini"  # $0.15 in, $0.60 out, a million tokens


def test_an_answer_ends_at_its_limit_and_says_so(shared_sandbox: httpx.Client) -> None:
    chats = [
        complete(shared_sandbox, MODEL, max_tokens=5),
        complete(shared_sandbox, MODEL, max_completion_tokens=5),
        ask_openai(shared_sandbox, max_completion_tokens=5),
    ]
    for chat in chats:
        body = chat.json()
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"]["completion_tokens"] == 5
        assert len(body["choices"][0]["message"]["content"]) == 20
    message = ask_claude(shared_sandbox, max_tokens=5).json()
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 5)


def test_a_limit_that_is_not_reached_changes_nothing(shared_sandbox: httpx.Client) -> None:
    whole = complete(shared_sandbox, MODEL).json()["choices"]

    assert complete(shared_sandbox, MODEL, max_tokens=4_000).json()["choices"] == whole


def test_anthropic_refuses_more_than_a_model_gives(shared_sandbox: httpx.Client) -> None:
    response = ask_claude(shared_sandbox, max_tokens=64_001)

    assert response.status_code == 400
    assert "64001 > 64000" in response.json()["error"]["message"]


def test_a_key_affords_so_many_tokens_and_no_more(shared_sandbox: httpx.Client) -> None:
    key = "sk-or-v1-a-key-that-afford900-tokens"
    response = complete(shared_sandbox, MODEL, key=key, max_tokens=901)

    assert response.status_code == 402
    assert "can only afford 900" in response.json()["error"]["message"]
    assert complete(shared_sandbox, MODEL, key=key, max_tokens=900).status_code == 200
    assert complete(shared_sandbox, MODEL, key=key).status_code == 402, "no limit is the largest"


@pytest.mark.parametrize(
    ("most", "status"),
    [
        ({"prompt": "0.15", "completion": "0.6"}, 200),
        ({"prompt": 0.15}, 200),
        ({"completion": "0.59"}, 404),
        ({"prompt": "a lot"}, 400),
    ],
)
def test_a_model_above_the_price_is_not_served(
    shared_sandbox: httpx.Client, most: dict[str, object], status: int
) -> None:
    response = complete(shared_sandbox, MODEL, provider={"max_price": most})

    assert response.status_code == status


def test_a_price_can_be_changed_for_a_test(shared_sandbox: httpx.Client) -> None:
    before = complete(shared_sandbox, MODEL).json()["usage"]["cost"]
    shared_sandbox.post("/openrouter/prices", json={"id": MODEL, "completion": "0.1"})
    after = complete(shared_sandbox, MODEL).json()["usage"]["cost"]
    listed = shared_sandbox.get(f"/openrouter/api/v1/model/{MODEL}").json()["data"]
    shared_sandbox.delete("/openrouter/prices")

    assert after > before
    assert listed["pricing"]["completion"] == "0.1"
    assert complete(shared_sandbox, MODEL).json()["usage"]["cost"] == before
