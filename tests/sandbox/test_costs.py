"""However odd a usage is on the wire, the ledger and `/generation` know what was billed."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import httpx
import pytest

from tests.sandbox.calling import complete, content, generation, last_call


def test_a_cost_may_be_said_again_as_upstream(shared_sandbox: httpx.Client) -> None:
    usage = complete(shared_sandbox, "sandbox/cost-equals-upstream").json()["usage"]

    assert usage["is_byok"] is False
    assert usage["cost_details"]["upstream_inference_cost"] == usage["cost"] > 0
    assert float(last_call(shared_sandbox)["cost_usd"]) == usage["cost"]


def test_odd_figures_are_odd_in_every_way_and_the_bill_is_sound(
    shared_sandbox: httpx.Client,
) -> None:
    response = complete(shared_sandbox, "sandbox/odd-usage")

    usage = json.loads(response.text)["usage"]
    assert usage["prompt_tokens"] < 0
    assert usage["completion_tokens"] == "187"
    assert math.isnan(usage["total_tokens"])
    assert usage["cost"] == usage["prompt_tokens_details"]["cached_tokens"] == 1e308
    assert usage["cost_details"]["upstream_inference_cost"] < 0
    assert 0 < Decimal(last_call(shared_sandbox)["cost_usd"]) < 1
    assert last_call(shared_sandbox)["prompt_tokens"] > 0


@pytest.mark.parametrize(
    ("name", "cost"), [("negative", -0.25), ("text", "about a cent"), ("nan", "NaN")]
)
def test_a_cost_may_be_no_price(shared_sandbox: httpx.Client, name: str, cost: object) -> None:
    body = complete(shared_sandbox, f"sandbox/odd-cost-{name}").json()

    billed = generation(shared_sandbox, body["id"]).json()["data"]["total_cost"]
    assert body["usage"]["cost"] == cost
    assert billed == float(last_call(shared_sandbox)["cost_usd"]) > 0


def test_a_usage_may_be_said_twice_in_one_object(shared_sandbox: httpx.Client) -> None:
    response = complete(shared_sandbox, "sandbox/duplicate-usage")

    assert response.text.count('"usage"') == 2
    assert response.json()["usage"]["cost"] > 0
    assert content(response)


def test_a_late_generation_is_found_at_the_second_ask(shared_sandbox: httpx.Client) -> None:
    body = complete(shared_sandbox, "sandbox/late-generation").json()

    asked = [generation(shared_sandbox, body["id"]) for _ in range(3)]

    assert "cost" not in body["usage"]
    assert [response.status_code for response in asked] == [404, 200, 200]
    assert asked[1].json()["data"]["total_cost"] > 0
