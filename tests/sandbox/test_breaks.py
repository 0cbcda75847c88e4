"""Answers of OpenRouter that break after they have begun, as a stream and as one body."""

from __future__ import annotations

import json
from decimal import Decimal

import httpx

from tests.sandbox.calling import Json, complete, content, last_call


def streamed(client: httpx.Client, name: str) -> tuple[list[Json], bool]:
    """Return the chunks of a stream and whether it said that it was done."""
    text = complete(client, f"sandbox/{name}", stream=True).text
    lines = [line for line in text.split("\n\n") if line.startswith("data: ")]
    is_done = lines[-1] == "data: [DONE]"
    return [json.loads(line[6:]) for line in lines[: -1 if is_done else None]], is_done


def bill(client: httpx.Client) -> Decimal:
    return Decimal(last_call(client)["cost_usd"])


def test_the_documented_error_ends_the_stream_and_is_not_billed(
    shared_sandbox: httpx.Client,
) -> None:
    chunks, is_done = streamed(shared_sandbox, "stream-error-documented")

    assert chunks[-1]["error"]["code"] == 429
    assert chunks[-1]["choices"][0]["finish_reason"] == "error"
    assert chunks[0]["choices"][0]["delta"]["content"]
    assert not is_done
    assert bill(shared_sandbox) == 0


def test_the_documented_error_in_one_body_is_in_the_choice(shared_sandbox: httpx.Client) -> None:
    choice = complete(shared_sandbox, "sandbox/stream-error-documented").json()["choices"][0]

    assert choice["finish_reason"] == "error"
    assert choice["error"]["metadata"]["error_type"] == "rate_limit_exceeded"
    assert choice["message"]["content"]
    assert bill(shared_sandbox) == 0


def test_the_recorded_error_comes_with_the_usage_after_a_finish_and_is_billed(
    shared_sandbox: httpx.Client,
) -> None:
    chunks, is_done = streamed(shared_sandbox, "stream-error-recorded")

    last, before = chunks[-1], chunks[-2]
    assert before["choices"][0]["finish_reason"] == "length"
    assert last["choices"][0]["finish_reason"] is None
    assert last["error"] == {"code": 400, "message": "Token limit reached"}
    assert last["usage"]["cost"] == float(bill(shared_sandbox)) > 0
    assert is_done


def test_the_recorded_error_in_one_body_is_at_the_top(shared_sandbox: httpx.Client) -> None:
    body = complete(shared_sandbox, "sandbox/stream-error-recorded").json()

    assert body["error"]["code"] == 400
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["cost"] == float(bill(shared_sandbox)) > 0


def test_a_cut_stream_ends_without_any_signal_and_is_billed(shared_sandbox: httpx.Client) -> None:
    chunks, is_done = streamed(shared_sandbox, "stream-cut")

    assert {chunk["choices"][0]["finish_reason"] for chunk in chunks} == {None}
    assert not any("usage" in chunk for chunk in chunks)
    assert not is_done
    assert bill(shared_sandbox) > 0


def test_a_cut_answer_in_one_body_has_no_finish(shared_sandbox: httpx.Client) -> None:
    response = complete(shared_sandbox, "sandbox/stream-cut")

    assert content(response)
    assert response.json()["choices"][0]["finish_reason"] is None


def test_comments_stand_between_the_chunks(shared_sandbox: httpx.Client) -> None:
    text = complete(shared_sandbox, "sandbox/stream-cut", stream=True).text

    assert text.count(": OPENROUTER PROCESSING") > 1
