"""The stand-in for OpenRouter answers in the shapes of the real one, its errors included."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime
from decimal import Decimal

import httpx
import pytest

from tests.sandbox.calling import KEY, complete, content

SCHEMA = {"type": "object", "properties": {"analysis": {"type": "string"}}}
PICTURE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]


def test_an_answer_has_the_full_shape(shared_sandbox: httpx.Client) -> None:
    response = complete(shared_sandbox, "openai/gpt-4.1")

    body = response.json()
    assert response.headers["x-generation-id"] == body["id"]
    assert body["id"].startswith("gen-")
    assert body["object"] == "chat.completion"
    assert body["model"] == "openai/gpt-4.1"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["choices"][0]["native_finish_reason"] == "completed"
    assert body["usage"]["total_tokens"] == (
        body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    )
    assert body["usage"]["is_byok"] is False


def test_the_cost_is_exactly_tokens_times_price(shared_sandbox: httpx.Client) -> None:
    usage = complete(shared_sandbox, "anthropic/claude-sonnet-4.5").json()["usage"]

    price = usage["prompt_tokens"] * Decimal("0.000003")
    price += usage["completion_tokens"] * Decimal("0.000015")
    assert Decimal(str(usage["cost"])) == price
    details = usage["cost_details"]
    assert details["upstream_inference_cost"] is None
    assert details["upstream_inference_prompt_cost"] == pytest.approx(
        usage["prompt_tokens"] * 0.000003
    )


def test_a_free_model_costs_nothing(shared_sandbox: httpx.Client) -> None:
    usage = complete(shared_sandbox, "deepseek/deepseek-chat-v3.1:free").json()["usage"]

    assert usage["cost"] == 0


def test_the_same_request_gets_the_same_answer_from_a_named_model(
    shared_sandbox: httpx.Client,
) -> None:
    first = content(complete(shared_sandbox, "openai/gpt-5-mini", "Who decides?"))
    second = content(complete(shared_sandbox, "openai/gpt-5-mini", "Who decides?"))
    other = content(complete(shared_sandbox, "openai/gpt-4.1", "Who decides?"))

    assert first == second != other
    assert first.count("openai/gpt-5-mini") == 1
    assert "Who decides?" in first


def test_an_alias_answers_as_its_target(shared_sandbox: httpx.Client) -> None:
    body = complete(shared_sandbox, "anthropic/claude-sonnet-latest").json()

    assert body["model"] == "anthropic/claude-sonnet-4.5"


def test_models_are_listed_without_a_key_and_without_the_misbehaving_ones(
    shared_sandbox: httpx.Client,
) -> None:
    listing = shared_sandbox.get("/openrouter/api/v1/models").json()

    models = {model["id"]: model for model in listing["data"]}
    assert listing["total_count"] == len(models) >= 12
    assert not any(model_id.startswith("sandbox/") for model_id in models)
    assert models["openai/gpt-4.1"]["pricing"]["prompt"] == "0.000002"
    today = datetime.now(UTC).date()
    for model_id, days in (("openai/gpt-4-1106-preview", 25), ("google/gemini-2.0-flash", 5)):
        left = date.fromisoformat(models[model_id]["expiration_date"]) - today
        assert left.days in (days, days - 1)  # midnight may come between
    assert models["anthropic/claude-sonnet-latest"]["alias_target"]["slug"] in models
    assert models["deepseek/deepseek-v3.2"]["pricing"]["overrides"][0]["utc_start"] == "1630"
    llama = models["meta-llama/llama-3.3-70b-instruct"]
    assert llama["architecture"]["input_modalities"] == ["text"]
    hermes = models["nousresearch/hermes-3-llama-3.1-70b"]
    assert "structured_outputs" not in hermes["supported_parameters"]


def test_a_withdrawn_model_is_neither_listed_nor_found_nor_asked_until_it_is_back(
    sandbox: httpx.Client,
) -> None:
    model_id = "openai/gpt-4o-mini"
    pages = [
        f"/openrouter/api/v1/model/{model_id}",
        f"/openrouter/api/v1/models/{model_id}/endpoints",
    ]

    sandbox.post("/openrouter/withdrawn", json={"id": model_id}).raise_for_status()
    listed = [model["id"] for model in sandbox.get("/openrouter/api/v1/models").json()["data"]]
    statuses = [sandbox.get(page).status_code for page in pages]
    refused = complete(sandbox, model_id)
    sandbox.delete("/openrouter/withdrawn").raise_for_status()

    assert model_id not in listed
    assert statuses == [404, 404]
    assert refused.status_code == 404
    assert refused.json()["error"]["availability"]["code"] == "model_deprecated"
    assert complete(sandbox, model_id).status_code == 200


def test_endpoints_tell_who_serves_a_model_and_with_which_parameters(
    shared_sandbox: httpx.Client,
) -> None:
    path = "/openrouter/api/v1/models/mistralai/mistral-small-3.2-24b-instruct/endpoints"

    endpoints = shared_sandbox.get(path).json()["data"]["endpoints"]

    assert [
        (one["provider_name"], "structured_outputs" in one["supported_parameters"])
        for one in endpoints
    ] == [("Mistral", True), ("DeepInfra", False)]


def test_a_generation_is_told_to_the_key_that_paid_and_to_no_other(
    shared_sandbox: httpx.Client,
) -> None:
    body = complete(shared_sandbox, "openai/gpt-4.1").json()
    address = f"/openrouter/api/v1/generation?id={body['id']}"

    mine = shared_sandbox.get(address, headers={"authorization": f"Bearer {KEY}"})
    other = shared_sandbox.get(address, headers={"authorization": f"Bearer {KEY}-other"})
    nobody = shared_sandbox.get(address)

    assert mine.json()["data"]["total_cost"] == body["usage"]["cost"]
    assert (other.status_code, nobody.status_code) == (404, 401)


def test_a_client_that_leaves_ends_its_call(sandbox: httpx.Client) -> None:
    with pytest.raises(httpx.ReadTimeout):
        complete(sandbox, "sandbox/hang", timeout=0.1)

    ended = threading.Event()
    while not ended.wait(0.01):
        if sandbox.get("/ledger").json()["calls"][0]["status"] == 499:
            ended.set()
