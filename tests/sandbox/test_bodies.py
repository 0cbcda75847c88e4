"""Answers in which something is missing, double or of another kind, in each vendor's own shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal

import httpx
import pytest

from tests.sandbox.calling import (
    ANTHROPIC,
    CLAUDE_KEY,
    OPENAI,
    OPENAI_KEY,
    OPENROUTER,
    Json,
    ask_claude,
    ask_openai,
    chat_request,
    last_call,
)

ANSWER = {
    "type": "object",
    "properties": {"analysis": {"type": "string"}},
    "required": ["analysis"],
    "additionalProperties": False,
}
Ask = Callable[[str], Json]


def was_billed(client: httpx.Client) -> bool:
    return Decimal(last_call(client)["cost_usd"]) > 0


@pytest.fixture(params=[OPENROUTER, OPENAI])
def with_choices(request: pytest.FixtureRequest, shared_sandbox: httpx.Client) -> Ask:
    """Ask a misbehaving model of each vendor with choices; it answers 200 and is billed."""

    def ask(name: str) -> Json:
        response = shared_sandbox.send(chat_request(shared_sandbox, request.param, name))
        assert response.status_code == 200
        assert was_billed(shared_sandbox)
        body: Json = response.json()
        return body

    return ask


@pytest.fixture
def claude(shared_sandbox: httpx.Client) -> Ask:
    """Ask a misbehaving model of Anthropic's; it answers 200, for money."""

    def ask(name: str) -> Json:
        response = ask_claude(shared_sandbox, f"sandbox-{name}")
        assert response.status_code == 200
        assert was_billed(shared_sandbox)
        body: Json = response.json()
        return body

    return ask


def test_choices_may_be_null_or_none_at_all(with_choices: Ask) -> None:
    assert with_choices("null-choices")["choices"] is None
    assert with_choices("no-choices")["choices"] == []


def test_a_finish_may_be_missing(with_choices: Ask) -> None:
    choice = with_choices("no-finish")["choices"][0]

    assert choice["finish_reason"] is None
    assert choice["message"]["content"]


def test_content_may_be_empty_or_null(with_choices: Ask) -> None:
    empty, null = with_choices("empty-content"), with_choices("null-content")

    assert empty["choices"][0]["message"]["content"] == ""
    assert null["choices"][0]["message"]["content"] is None
    assert empty["choices"][0]["finish_reason"] == "stop"


def test_a_tool_may_be_called_instead(with_choices: Ask) -> None:
    choice = with_choices("tool-calls")["choices"][0]

    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    assert choice["message"]["tool_calls"][0]["function"]["name"]


def test_content_may_come_in_parts(with_choices: Ask) -> None:
    parts = with_choices("content-parts")["choices"][0]["message"]["content"]

    assert "Hello" in "".join(part["text"] for part in parts)
    assert len(parts) == 2


def test_two_answers_may_come_where_one_was_asked_for(with_choices: Ask) -> None:
    first, second = with_choices("two-choices")["choices"]

    assert (first["index"], second["index"]) == (0, 1)
    assert first["message"]["content"] != second["message"]["content"]


def test_an_answer_may_be_cut_at_the_limit_of_tokens(with_choices: Ask) -> None:
    choice = with_choices("truncated")["choices"][0]

    assert choice["finish_reason"] == "length"
    assert "answered by" not in choice["message"]["content"]


def test_usage_may_be_missing(with_choices: Ask) -> None:
    assert "usage" not in with_choices("no-usage")


def test_truncated_json_cannot_be_read(shared_sandbox: httpx.Client) -> None:
    held = {"format": {"type": "json_schema", "schema": ANSWER}}

    body = ask_claude(shared_sandbox, "sandbox-truncated", output_config=held).json()

    assert body["stop_reason"] == "max_tokens"
    with pytest.raises(json.JSONDecodeError):
        json.loads(body["content"][0]["text"])


def test_json_may_come_in_a_fence(claude: Ask) -> None:
    assert "```json" in claude("fenced-json")["content"][0]["text"]


@pytest.mark.parametrize(
    ("name", "stop_reason"),
    [
        ("no-finish", None),
        ("context-exceeded", "model_context_window_exceeded"),
        ("pause-turn", "pause_turn"),
        ("tool-calls", "tool_use"),
        ("refusal", "refusal"),
    ],
)
def test_claude_may_stop_for_another_reason(
    claude: Ask, name: str, stop_reason: str | None
) -> None:
    assert claude(name)["stop_reason"] == stop_reason


def test_claude_explains_a_refusal_and_says_nothing_else(claude: Ask) -> None:
    body = claude("refusal")

    assert body["content"] == []
    assert body["stop_details"]["type"] == "refusal"


def test_claude_may_leave_out_content_and_usage(claude: Ask) -> None:
    assert claude("empty-content")["content"] == []
    assert claude("null-content")["content"] is None
    assert "usage" not in claude("no-usage")


def test_claude_may_think_and_answer_in_parts(claude: Ask) -> None:
    kinds = [block["type"] for block in claude("content-parts")["content"]]

    assert kinds == ["thinking", "text", "text"]


def test_gpt_refuses_with_an_ordinary_end(shared_sandbox: httpx.Client) -> None:
    refused = ask_openai(shared_sandbox, "sandbox-refusal").json()["choices"][0]
    filtered = ask_openai(shared_sandbox, "sandbox-filtered").json()["choices"][0]

    assert (refused["finish_reason"], refused["message"]["content"]) == ("stop", None)
    assert refused["message"]["refusal"]
    assert filtered["finish_reason"] == "content_filter"


@pytest.mark.parametrize("vendor", [ANTHROPIC, OPENAI])
def test_another_model_may_answer(shared_sandbox: httpx.Client, vendor: str) -> None:
    body = shared_sandbox.send(chat_request(shared_sandbox, vendor, "other-model")).json()

    assert body["model"] == last_call(shared_sandbox)["served_model"] != "sandbox-other-model"


@pytest.mark.parametrize("vendor", [ANTHROPIC, OPENAI])
def test_an_error_may_hide_inside_a_200(shared_sandbox: httpx.Client, vendor: str) -> None:
    response = shared_sandbox.send(chat_request(shared_sandbox, vendor, "error-in-200"))

    assert response.status_code == 200
    assert response.json()["error"]["type"]
    assert not was_billed(shared_sandbox)


@pytest.mark.parametrize(
    ("name", "status", "error_type"),
    [
        ("unknown-model", 404, "not_found_error"),
        ("echo-key", 401, "authentication_error"),
        ("low-balance", 400, "invalid_request_error"),
        ("no-credit", 402, "billing_error"),
        ("forbidden", 403, "permission_error"),
        ("error-413", 413, "request_too_large"),
        ("error-429", 429, "rate_limit_error"),
        ("error-429-bare", 429, "rate_limit_error"),
        ("error-500", 500, "api_error"),
        ("error-504", 504, "timeout_error"),
        ("overloaded", 529, "overloaded_error"),
        ("no-such-behaviour", 404, "not_found_error"),
    ],
)
def test_claude_fails_in_its_own_shape(
    shared_sandbox: httpx.Client, name: str, status: int, error_type: str
) -> None:
    response = ask_claude(shared_sandbox, f"sandbox-{name}")

    body = response.json()
    assert (response.status_code, body["error"]["type"]) == (status, error_type)
    assert body["request_id"] == response.headers["request-id"]
    assert response.headers.get("retry-after") == ("1" if name == "error-429" else None)
    assert (CLAUDE_KEY in response.text) == (name == "echo-key")
    assert not was_billed(shared_sandbox)


@pytest.mark.parametrize(
    ("name", "status", "error_type"),
    [
        ("unknown-model", 404, "invalid_request_error"),
        ("echo-key", 401, "invalid_request_error"),
        ("no-credit", 429, "insufficient_quota"),
        ("forbidden", 403, "invalid_request_error"),
        ("error-429", 429, "requests"),
        ("error-429-bare", 429, "requests"),
        ("error-500", 500, "server_error"),
        ("overloaded", 503, "server_error"),
        ("no-such-behaviour", 404, "invalid_request_error"),
    ],
)
def test_gpt_fails_in_its_own_shape(
    shared_sandbox: httpx.Client, name: str, status: int, error_type: str
) -> None:
    response = ask_openai(shared_sandbox, f"sandbox-{name}")

    assert (response.status_code, response.json()["error"]["type"]) == (status, error_type)
    assert response.headers.get("retry-after") == ("1" if name == "error-429" else None)
    assert (OPENAI_KEY in response.text) == (name == "echo-key")
    assert not was_billed(shared_sandbox)


@pytest.mark.parametrize(
    ("vendor", "name"), [(ANTHROPIC, "flaky-overloaded"), (OPENAI, "flaky-429")]
)
def test_a_flaky_model_fails_once(sandbox: httpx.Client, vendor: str, name: str) -> None:
    statuses = [sandbox.send(chat_request(sandbox, vendor, name)).status_code for _ in range(2)]

    assert statuses[0] in (429, 529)
    assert statuses[1] == 200
