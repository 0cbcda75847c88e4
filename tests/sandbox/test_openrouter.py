"""The stand-in for OpenRouter answers in the shapes of the real one, its errors included."""

from __future__ import annotations

import base64
import json
import threading
from datetime import UTC, date, datetime
from decimal import Decimal

import httpx
import pytest

from observatory.sandbox.catalogue import find_model
from tests.sandbox.calling import KEY, Json, complete, content, json_schema, png

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


def test_one_model_takes_no_care_with_json_until_it_is_asked_again(
    shared_sandbox: httpx.Client,
) -> None:
    model, wanted = "mistralai/mistral-small-3.2-24b-instruct", json_schema(SCHEMA)
    asked = [{"role": "user", "content": "Hello"}]
    again = [*asked, {"role": "assistant", "content": "…"}, {"role": "user", "content": "JSON!"}]

    careless = complete(shared_sandbox, model, response_format=wanted, messages=asked)
    careful = complete(shared_sandbox, model, response_format=wanted, messages=again)

    with pytest.raises(json.JSONDecodeError):
        json.loads(content(careless))
    assert json.loads(content(careful))["analysis"]


def test_a_picture_is_measured(shared_sandbox: httpx.Client) -> None:
    url = f"data:image/png;base64,{base64.b64encode(png(8, 9)).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "And?"}]
    asked = [{"role": "user", "content": parts}]
    said = complete(
        shared_sandbox, "openai/gpt-4.1", messages=asked, response_format=json_schema(SCHEMA)
    )

    assert "picture of 8 by 9 pixels" in content(said)


def test_a_picture_needs_no_words(shared_sandbox: httpx.Client) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": ""}, *PICTURE]}]

    assert complete(shared_sandbox, "openai/gpt-4.1", messages=messages).status_code == 200


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


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("openai/gpt-4.1", "openai/gpt-4.1"),
        ("anthropic/claude-sonnet-latest", "anthropic/claude-sonnet-4.5"),
        ("openai/gpt-4.1:free", "openai/gpt-4.1"),
    ],
)
def test_one_model_is_found_by_id_alias_and_variant(
    shared_sandbox: httpx.Client, asked: str, found: str
) -> None:
    response = shared_sandbox.get(f"/openrouter/api/v1/model/{asked}")

    assert response.json()["data"]["id"] == found


def test_an_unknown_model_is_not_found(shared_sandbox: httpx.Client) -> None:
    assert shared_sandbox.get("/openrouter/api/v1/model/no/such").status_code == 404


def test_a_price_by_the_hour_wraps_midnight() -> None:
    model = find_model("deepseek/deepseek-v3.2")
    assert model is not None
    at_0000, at_1200, at_1700 = 1_700_006_400.0, 1_700_049_600.0, 1_700_067_600.0

    prices = [
        model.cost_usd(prompt_tokens=1000, completion_tokens=0, at=at)[0]
        for at in (at_0000, at_1200, at_1700)
    ]

    assert prices == [Decimal("0.000135"), Decimal("0.00027"), Decimal("0.000135")]


def test_a_price_by_prompt_size_applies_above_its_threshold() -> None:
    model = find_model("anthropic/claude-sonnet-4.5")
    assert model is not None

    small, _ = model.cost_usd(prompt_tokens=199_999, completion_tokens=1, at=0)
    large, _ = model.cost_usd(prompt_tokens=200_000, completion_tokens=1, at=0)

    assert small == 199_999 * Decimal("0.000003")
    assert large == 200_000 * Decimal("0.000006")


@pytest.mark.parametrize(
    "key", ["none", "sk-or-v1-short", "sk-ant-0123456789012345", "sk-or-v1-revoked-0123456789"]
)
def test_a_bad_key_is_refused(shared_sandbox: httpx.Client, key: str) -> None:
    chat = complete(shared_sandbox, "openai/gpt-4.1", key=key)
    check = shared_sandbox.get("/openrouter/api/v1/key", headers={"authorization": f"Bearer {key}"})

    assert chat.status_code == check.status_code == 401
    assert chat.json()["error"]["code"] == 401


def test_a_good_key_describes_itself_without_showing_itself(shared_sandbox: httpx.Client) -> None:
    complete(shared_sandbox, "openai/gpt-4.1")

    response = shared_sandbox.get(
        "/openrouter/api/v1/key", headers={"authorization": f"Bearer {KEY}"}
    )

    facts = response.json()["data"]
    assert facts["usage"] > 0
    assert facts["limit_remaining"] == pytest.approx(facts["limit"] - facts["usage"])
    assert KEY not in response.text


def test_a_key_without_credit_gets_402(shared_sandbox: httpx.Client) -> None:
    response = complete(shared_sandbox, "openai/gpt-4.1", key="sk-or-v1-nocredit-000000")

    assert response.status_code == 402


def test_an_unknown_model_is_400_with_the_real_words(shared_sandbox: httpx.Client) -> None:
    response = complete(shared_sandbox, "no/such")

    assert response.status_code == 400
    assert response.json()["error"]["message"] == "no/such is not a valid model ID"


def test_a_picture_for_a_model_that_reads_only_text_is_404(shared_sandbox: httpx.Client) -> None:
    messages = [{"role": "user", "content": PICTURE}]

    blind = complete(shared_sandbox, "meta-llama/llama-3.3-70b-instruct", messages=messages)
    seeing = complete(shared_sandbox, "openai/gpt-4.1", messages=messages)

    assert blind.status_code == 404
    assert blind.json()["error"]["message"] == "No endpoints found that support image input"
    assert seeing.status_code == 200


def test_a_schema_that_the_model_cannot_follow_is_404_if_parameters_are_required(
    shared_sandbox: httpx.Client,
) -> None:
    model, wanted = "nousresearch/hermes-3-llama-3.1-70b", json_schema(SCHEMA)

    strict = complete(
        shared_sandbox, model, response_format=wanted, provider={"require_parameters": True}
    )
    lenient = complete(shared_sandbox, model, response_format=wanted)

    availability = strict.json()["error"]["availability"]
    assert strict.status_code == 404
    assert availability["code"] == "constraint_filtered"
    assert availability["constraint"]["field"] == "response_format"
    assert lenient.status_code == 200
    assert not content(lenient).startswith("{")


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": "Hello"},
        {"messages": [{"content": "Hello"}]},
        {"messages": [{"role": "user", "content": ["Hello"]}]},
        {"model": None},
        {"response_format": "json"},
        {"response_format": {"type": "json_schema"}},
        {"response_format": json_schema({"$ref": "#/nowhere"})},
        {"response_format": json_schema({"$ref": "#"})},
        {"response_format": json_schema({"type": "string", "minLength": "many"})},
    ],
)
def test_a_malformed_request_is_400(shared_sandbox: httpx.Client, body: Json) -> None:
    response = complete(shared_sandbox, "openai/gpt-4.1", **body)

    assert response.status_code == 400
    assert response.json()["error"]["message"]


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"model": NaN}'])
def test_a_body_that_is_no_json_object_is_400(shared_sandbox: httpx.Client, raw: bytes) -> None:
    response = shared_sandbox.post(
        "/openrouter/api/v1/chat/completions",
        content=raw,
        headers={"authorization": f"Bearer {KEY}"},
    )

    assert response.status_code == 400


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
