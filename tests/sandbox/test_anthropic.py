"""The stand-in for Anthropic answers in the shapes of the real one, its errors included."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.sandbox.calling import CLAUDE_KEY, KEY, OPENAI_KEY, Json, ask_claude, last_call

ANSWER = {
    "type": "object",
    "properties": {"analysis": {"type": "string"}},
    "required": ["analysis"],
    "additionalProperties": False,
}
PICTURE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
}
TEXT = {"type": "text", "text": "What do you see?"}


def held_to(schema: Json) -> Json:
    return {"format": {"type": "json_schema", "schema": schema}}


def with_parts(*parts: object) -> list[Json]:
    return [{"role": "user", "content": list(parts)}]


def error(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()
    assert body["type"] == "error"
    assert body["request_id"] == response.headers["request-id"]
    return response.status_code, body["error"]["type"], body["error"]["message"]


def test_an_answer_has_the_full_shape_and_no_cost(shared_sandbox: httpx.Client) -> None:
    response = ask_claude(shared_sandbox, prompt="Who decides?")

    body = response.json()
    assert body["id"].startswith("msg_")
    assert (body["type"], body["role"]) == ("message", "assistant")
    assert body["model"] == "claude-sonnet-4-5-20250929"
    assert [block["type"] for block in body["content"]] == ["text"]
    assert "Who decides?" in body["content"][0]["text"]
    assert (body["stop_reason"], body["stop_sequence"]) == ("end_turn", None)
    assert body["usage"]["input_tokens"] > 0 < body["usage"]["output_tokens"]
    assert body["usage"]["cache_read_input_tokens"] == 0
    assert '"cost' not in response.text


def test_an_answer_fits_the_schema_it_is_held_to(shared_sandbox: httpx.Client) -> None:
    body = ask_claude(shared_sandbox, output_config=held_to(ANSWER)).json()

    assert "claude-sonnet-4-5" in json.loads(body["content"][0]["text"])["analysis"]


def test_a_picture_and_a_system_prompt_count_as_input(shared_sandbox: httpx.Client) -> None:
    bare = ask_claude(shared_sandbox, messages=with_parts(TEXT)).json()
    full = ask_claude(shared_sandbox, messages=with_parts(TEXT, PICTURE), system="Be kind").json()

    assert full["usage"]["input_tokens"] > bare["usage"]["input_tokens"] + 200
    assert "What do you see?" in full["content"][0]["text"]


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-haiku-4-5-20251001"])
def test_a_model_answers_under_its_date_whether_or_not_it_was_asked_for(
    shared_sandbox: httpx.Client, model: str
) -> None:
    assert ask_claude(shared_sandbox, model).json()["model"] == "claude-haiku-4-5-20251001"


@pytest.mark.parametrize("key", [None, "nonsense", KEY, OPENAI_KEY])
def test_a_bad_key_is_refused(shared_sandbox: httpx.Client, key: str | None) -> None:
    headers = {"x-api-key": key}
    chat = ask_claude(shared_sandbox, headers=headers)
    check = shared_sandbox.get(
        "/anthropic/v1/models",
        headers={"anthropic-version": "2023-06-01"} | ({"x-api-key": key} if key else {}),
    )

    assert error(chat)[:2] == error(check)[:2] == (401, "authentication_error")


def test_a_good_key_lists_the_models(shared_sandbox: httpx.Client) -> None:
    listing = shared_sandbox.get(
        "/anthropic/v1/models",
        headers={"x-api-key": CLAUDE_KEY, "anthropic-version": "2023-06-01"},
    ).json()

    ids = [model["id"] for model in listing["data"]]
    assert "claude-sonnet-4-5-20250929" in ids
    assert (listing["first_id"], listing["last_id"]) == (ids[0], ids[-1])
    assert listing["has_more"] is False
    assert listing["data"][0]["created_at"] == "2025-09-29T00:00:00Z"


def test_a_key_without_credit_is_a_matter_of_billing(shared_sandbox: httpx.Client) -> None:
    response = ask_claude(shared_sandbox, headers={"x-api-key": "sk-ant-nocredit-000000"})

    assert error(response)[:2] == (402, "billing_error")


def test_an_unknown_model_is_not_found(shared_sandbox: httpx.Client) -> None:
    response = ask_claude(shared_sandbox, "claude-sonet-4-5")

    assert error(response) == (404, "not_found_error", "model: claude-sonet-4-5")


def test_a_request_without_version_is_refused(shared_sandbox: httpx.Client) -> None:
    response = ask_claude(shared_sandbox, headers={"anthropic-version": None})

    assert error(response)[:2] == (400, "invalid_request_error")
    assert "anthropic-version" in error(response)[2]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"model": None}, "model: Field required"),
        ({"messages": None}, "messages: Field required"),
        ({"messages": ["Hello"]}, "messages.0"),
        ({"messages": [{"role": "system", "content": "Hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0.content"),
        ({"messages": with_parts("Hello")}, "messages.0.content.0"),
        ({"messages": with_parts({"type": "image_url"})}, "'image_url'"),
        ({"messages": with_parts({"type": "text", "text": ""})}, "at least 1 character"),
        ({"messages": with_parts({"type": "image", "source": {"type": "url"}})}, "base64"),
        (
            {"messages": with_parts(PICTURE | {"source": PICTURE["source"] | {"data": "?"}})},  # type: ignore[operator]
            "invalid base64 data",
        ),
        ({"system": 5}, "system"),
        ({"output_config": {"format": {"type": "json"}}}, "output_config.format.type"),
        ({"output_config": held_to({"type": "object"})}, "additionalProperties"),
        ({"output_config": held_to({"type": "integer", "minimum": 0})}, "'minimum'"),
        ({"stream": True}, "stream"),
    ],
)
def test_a_malformed_request_is_400_and_says_why(
    shared_sandbox: httpx.Client, body: Json, words: str
) -> None:
    response = ask_claude(shared_sandbox, **body)

    status, kind, message = error(response)
    assert (status, kind) == (400, "invalid_request_error")
    assert words in message
    assert last_call(shared_sandbox)["cost_usd"] == "0"
