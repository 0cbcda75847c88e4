"""The stand-in for OpenAI answers in the shapes of the real one, its errors included."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.sandbox.calling import (
    CLAUDE_KEY,
    KEY,
    OPENAI_KEY,
    Json,
    ask_openai,
    content,
    json_schema,
    last_call,
)

ANSWER = {
    "type": "object",
    "properties": {"analysis": {"type": "string"}},
    "required": ["analysis"],
    "additionalProperties": False,
}


def error(response: httpx.Response) -> tuple[int, str, str | None]:
    body = response.json()["error"]
    assert set(body) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"].startswith("req_")
    return response.status_code, body["type"], body["code"]


def test_an_answer_has_the_full_shape_and_no_cost(shared_sandbox: httpx.Client) -> None:
    response = ask_openai(shared_sandbox, prompt="Who decides?")

    body = response.json()
    assert body["id"].startswith("chatcmpl-")
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["choices"][0]["message"]["refusal"] is None
    assert "Who decides?" in content(response)
    assert body["usage"]["total_tokens"] == (
        body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    )
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert '"cost' not in response.text


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("gpt-4.1", "gpt-4.1-2025-04-14"),
        ("gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"),
        ("gpt-5-mini", "gpt-5-mini-2025-08-07"),
        ("o4-mini-2025-04-16", "o4-mini-2025-04-16"),
    ],
)
def test_a_model_answers_under_its_date(
    shared_sandbox: httpx.Client, asked: str, served: str
) -> None:
    assert ask_openai(shared_sandbox, asked).json()["model"] == served


def test_an_answer_fits_the_schema_it_is_held_to(shared_sandbox: httpx.Client) -> None:
    response = ask_openai(shared_sandbox, response_format=json_schema(ANSWER))

    assert "gpt-4.1" in json.loads(content(response))["analysis"]


@pytest.mark.parametrize("key", ["none", KEY, CLAUDE_KEY])
def test_a_bad_key_is_refused_and_not_shown(shared_sandbox: httpx.Client, key: str) -> None:
    chat = ask_openai(shared_sandbox, key=key)
    check = shared_sandbox.get("/openai/v1/models", headers={"authorization": f"Bearer {key}"})

    assert error(chat) == error(check) == (401, "invalid_request_error", "invalid_api_key")
    assert key not in chat.text


def test_a_good_key_lists_the_models(shared_sandbox: httpx.Client) -> None:
    listing = shared_sandbox.get(
        "/openai/v1/models", headers={"authorization": f"Bearer {OPENAI_KEY}"}
    ).json()

    assert listing["object"] == "list"
    assert {"gpt-4.1", "o4-mini"} <= {model["id"] for model in listing["data"]}


def test_a_missing_key_is_refused(shared_sandbox: httpx.Client) -> None:
    response = shared_sandbox.get("/openai/v1/models")

    assert error(response) == (401, "invalid_request_error", "invalid_api_key")


def test_a_key_without_credit_has_used_up_its_quota(shared_sandbox: httpx.Client) -> None:
    response = ask_openai(shared_sandbox, key="sk-nocredit-0000000000")

    assert error(response) == (429, "insufficient_quota", "insufficient_quota")


def test_an_unknown_model_is_not_found(shared_sandbox: httpx.Client) -> None:
    response = ask_openai(shared_sandbox, "gpt-99")

    assert error(response) == (404, "invalid_request_error", "model_not_found")
    assert "`gpt-99` does not exist" in response.text


@pytest.mark.parametrize("model", ["o4-mini", "gpt-5-mini"])
def test_a_reasoning_model_refuses_the_old_limit_and_any_temperature(
    shared_sandbox: httpx.Client, model: str
) -> None:
    old = ask_openai(shared_sandbox, model, max_tokens=100)
    warm = ask_openai(shared_sandbox, model, temperature=0.2)
    new = ask_openai(shared_sandbox, model, max_completion_tokens=100)

    assert error(old) == (400, "invalid_request_error", "unsupported_parameter")
    assert old.json()["error"]["param"] == "max_tokens"
    assert error(warm) == (400, "invalid_request_error", "unsupported_value")
    assert new.status_code == ask_openai(shared_sandbox, max_tokens=100).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"model": None},
        {"messages": []},
        {"messages": ["Hello"]},
        {"response_format": {"type": "json_schema"}},
        {"response_format": json_schema({"type": "object", "properties": {}})},
        {"response_format": json_schema(ANSWER | {"required": []})},
        {"stream": True},
    ],
)
def test_a_malformed_request_is_400(shared_sandbox: httpx.Client, body: Json) -> None:
    response = ask_openai(shared_sandbox, **body)

    assert error(response)[:2] == (400, "invalid_request_error")
    assert last_call(shared_sandbox)["cost_usd"] == "0"
