"""The ledger knows every call, who made it, on which key, and what was billed."""

from __future__ import annotations

from decimal import Decimal

import httpx
import pytest

from observatory.sandbox import ledger as ledger_module
from observatory.sandbox.exchange import Reply
from observatory.sandbox.feed import Feed
from observatory.sandbox.ledger import Ledger, fingerprint, key_name
from tests.sandbox.calling import (
    CLAUDE_KEY,
    KEY,
    OPENAI_KEY,
    ask_claude,
    ask_openai,
    calls,
    complete,
)

WHO = {
    "x-observatory-agent": "strategist",
    "x-observatory-call": "call-1",
    "x-observatory-step": "step-1",
}


def test_a_call_is_kept_with_agent_key_and_cost(sandbox: httpx.Client) -> None:
    body = complete(sandbox, "openai/gpt-4.1", "Hello", headers=WHO).json()

    call = calls(sandbox)[0]
    assert call["n"] == 1
    assert call["path"] == "/openrouter/api/v1/chat/completions"
    assert (call["key"], call["model"]) == (KEY, "openai/gpt-4.1")
    assert (call["agent"], call["call_id"], call["step_id"]) == ("strategist", "call-1", "step-1")
    assert (call["status"], call["served_model"]) == (200, "openai/gpt-4.1")
    assert Decimal(str(call["cost_usd"])) == Decimal(str(body["usage"]["cost"]))
    assert call["prompt_tokens"] == body["usage"]["prompt_tokens"]
    assert call["messages"] == [{"role": "user", "content": "Hello"}]


def test_the_path_tells_the_vendor_and_the_price_list_the_cost(sandbox: httpx.Client) -> None:
    claude = ask_claude(sandbox).json()["usage"]
    openai = ask_openai(sandbox).json()["usage"]

    first, second = calls(sandbox)
    assert first["path"] == "/anthropic/v1/messages"
    assert second["path"] == "/openai/v1/chat/completions"
    assert (first["key"], second["key"]) == (CLAUDE_KEY, OPENAI_KEY)
    assert Decimal(first["cost_usd"]) == (
        claude["input_tokens"] * Decimal("0.000003") + claude["output_tokens"] * Decimal("0.000015")
    )
    assert Decimal(second["cost_usd"]) == (
        openai["prompt_tokens"] * Decimal("0.000002")
        + openai["completion_tokens"] * Decimal("0.000008")
    )


def test_a_system_prompt_that_stands_apart_is_kept_in_front(sandbox: httpx.Client) -> None:
    ask_claude(sandbox, prompt="Hello", system="Be kind")

    assert calls(sandbox)[0]["messages"] == [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": "Hello"},
    ]


def test_refused_calls_are_kept_too_and_cost_nothing(sandbox: httpx.Client) -> None:
    complete(sandbox, "openai/gpt-4.1", key="wrong")
    complete(sandbox, "no/such")
    complete(sandbox, "sandbox/error-500")

    kept = [(call["status"], call["cost_usd"], call["served_model"]) for call in calls(sandbox)]
    assert kept == [(401, "0", None), (400, "0", None), (500, "0", None)]


def test_a_call_is_there_before_it_is_answered(sandbox: httpx.Client) -> None:
    with pytest.raises(httpx.ReadTimeout):
        complete(sandbox, "sandbox/hang", timeout=0.1)

    assert calls(sandbox)[0]["model"] == "sandbox/hang"


def test_the_ledger_can_be_read_on_and_cleared(sandbox: httpx.Client) -> None:
    for _ in range(3):
        complete(sandbox, "openai/gpt-4.1")

    newer = calls(sandbox, after=2)
    sandbox.delete("/ledger")
    complete(sandbox, "openai/gpt-4.1")

    assert [call["n"] for call in newer] == [3]
    assert [call["n"] for call in calls(sandbox)] == [4]


def test_the_page_gets_fingerprints_and_no_prompts(sandbox: httpx.Client) -> None:
    complete(sandbox, "openai/gpt-4.1", "A secret prompt", headers=WHO)

    response = sandbox.get("/chat/calls")

    call = response.json()["calls"][0]
    assert call["fingerprint"] == "…3fa9"
    assert call["agent"] == "strategist"
    assert KEY not in response.text
    assert "A secret prompt" not in response.text


def test_the_sandboxs_own_keys_are_called_by_their_owners() -> None:
    names = {
        "sk-or-v1-sandbox-team-key-0001": "Team key",
        "sk-or-v1-sandbox-maya-key-0002": "Maya's key",
        "sk-or-v1-0123456789abcdef": "…cdef",
    }
    for key, name in names.items():
        assert key_name(key) == name


def test_a_short_key_has_no_fingerprint() -> None:
    assert fingerprint("sk-1234") == "no key"


def test_only_the_newest_prompts_are_kept(monkeypatch) -> None:
    monkeypatch.setattr(ledger_module, "KEPT_PROMPTS", 2)
    ledger = Ledger(feed=Feed(), clock=lambda: 0.0)

    for _ in range(3):
        ledger.open(path="/", key=KEY, headers={}, body={"messages": ["x"]})

    assert [call.messages for call in ledger.after(0)] == [None, ["x"], ["x"]]


def test_only_the_newest_calls_are_kept(monkeypatch) -> None:
    monkeypatch.setattr(ledger_module, "KEPT_CALLS", 2)
    ledger = Ledger(feed=Feed(), clock=lambda: 0.0)

    for n in range(3):
        call = ledger.open(path="/", key=KEY, headers={}, body={})
        generation = {"id": f"gen-{n}", "model": "m", "tokens_prompt": 1, "tokens_completion": 1}
        ledger.close(call, Reply(status=200, body={}, billed=Decimal(1), generation=generation))

    assert [call.n for call in ledger.after(0)] == [2, 3]
    assert ledger.generation("gen-0", key=KEY) is None
    assert ledger.generation("gen-2", key=KEY) is not None
    assert ledger.spent(KEY) == 3
