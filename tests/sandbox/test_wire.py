"""Sound answers of every vendor that go wrong on their way out, seen byte by byte."""

from __future__ import annotations

import json
import zlib
from decimal import Decimal

import httpx
import pytest

from tests.misbehaviours import wire
from tests.sandbox.calling import ANTHROPIC, OPENAI, OPENROUTER, chat_request, generation, last_call

VENDORS = (OPENROUTER, ANTHROPIC, OPENAI)


def was_billed(client: httpx.Client) -> bool:
    return Decimal(last_call(client)["cost_usd"]) > 0


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_padded_json_has_blanks_on_both_sides(shared_sandbox: httpx.Client, vendor: str) -> None:
    response = shared_sandbox.send(chat_request(shared_sandbox, vendor, "padded"))

    assert response.text.startswith("\n ")
    assert response.text.endswith("  ")
    assert response.json()["id"]
    assert was_billed(shared_sandbox)


def test_a_page_comes_instead_of_an_answer_that_was_paid(
    shared_sandbox: httpx.Client, vendor: str
) -> None:
    response = shared_sandbox.send(chat_request(shared_sandbox, vendor, "not-json"))

    assert (response.status_code, response.headers["content-type"].split(";")[0]) == (
        200,
        "text/html",
    )
    assert "x-generation-id" not in response.headers
    assert was_billed(shared_sandbox)


@pytest.mark.parametrize(("name", "status"), [("not-json-502", 502), ("redirect", 307)])
def test_what_never_reached_a_model_is_not_billed(
    shared_sandbox: httpx.Client, vendor: str, name: str, status: int
) -> None:
    response = shared_sandbox.send(chat_request(shared_sandbox, vendor, name))

    assert response.status_code == last_call(shared_sandbox)["status"] == status
    assert not was_billed(shared_sandbox)


def test_a_redirect_points_to_another_host(shared_sandbox: httpx.Client) -> None:
    response = shared_sandbox.send(chat_request(shared_sandbox, OPENROUTER, "redirect"))

    assert response.headers["location"].startswith("http://127.0.0.2:9/")


def test_the_headers_come_at_once_and_the_body_late(
    shared_sandbox: httpx.Client, vendor: str
) -> None:
    request = chat_request(shared_sandbox, vendor, "slow-first-byte")
    request.extensions["timeout"] = {"read": 0.2}
    response = shared_sandbox.send(request, stream=True)

    with pytest.raises(httpx.ReadTimeout):
        next(response.iter_raw())

    assert response.status_code == 200
    assert was_billed(shared_sandbox)


def test_the_late_body_is_whole(shared_sandbox: httpx.Client, monkeypatch) -> None:
    monkeypatch.setattr(wire, "FIRST_BYTE_S", 0.01)

    response = shared_sandbox.send(chat_request(shared_sandbox, OPENROUTER, "slow-first-byte"))

    assert response.json()["choices"]


def test_a_dripping_body_sends_byte_after_byte(shared_sandbox: httpx.Client, vendor: str) -> None:
    response = shared_sandbox.send(chat_request(shared_sandbox, vendor, "drip"), stream=True)

    first = next(response.iter_raw())

    response.close()
    assert first == b"{"
    assert was_billed(shared_sandbox)


def test_a_dripping_body_is_whole_in_the_end(shared_sandbox: httpx.Client, monkeypatch) -> None:
    monkeypatch.setattr(wire, "DRIP_S", 0)

    response = shared_sandbox.send(chat_request(shared_sandbox, OPENROUTER, "drip"))

    assert response.json()["choices"]


def test_an_endless_body_begins_as_json_and_goes_on_in_blanks(
    shared_sandbox: httpx.Client, vendor: str
) -> None:
    response = shared_sandbox.send(chat_request(shared_sandbox, vendor, "endless"), stream=True)

    received = b""
    chunks = response.iter_raw()
    while not received.endswith(b" " * 2048):
        received += next(chunks)

    response.close()
    assert json.loads(received + b"}")["id"]
    assert was_billed(shared_sandbox)


def test_a_huge_body_is_valid_json_of_fifty_megabytes(shared_sandbox: httpx.Client) -> None:
    response = shared_sandbox.send(chat_request(shared_sandbox, OPENROUTER, "huge"))

    assert len(response.content) > 50 * 1024 * 1024
    assert response.json()["choices"]
    assert was_billed(shared_sandbox)


def test_who_leaves_a_huge_body_leaves_the_sandbox_in_order(
    shared_sandbox: httpx.Client, vendor: str
) -> None:
    response = shared_sandbox.send(chat_request(shared_sandbox, vendor, "huge"), stream=True)
    next(response.iter_raw())

    response.close()

    assert shared_sandbox.get("/ledger").status_code == 200
    assert was_billed(shared_sandbox)


def test_a_gzip_bomb_is_small_on_the_wire_and_large_in_memory(
    shared_sandbox: httpx.Client, vendor: str, monkeypatch
) -> None:
    monkeypatch.setattr(wire, "BOMB_MEGABYTES", 20)
    request = chat_request(shared_sandbox, vendor, "gzip-bomb")
    response = shared_sandbox.send(request, stream=True)

    packed = b"".join(response.iter_raw())

    unpacker = zlib.decompressobj(wire.GZIP)
    assert response.headers["content-encoding"] == "gzip"
    assert len(packed) < 60_000
    unpacked = unpacker.decompress(packed)
    assert len(unpacked) > 20 * 1024 * 1024
    assert (unpacked[:1], unpacked[-1:]) == (b"{", b"}")


def test_a_reset_cuts_the_body_in_the_middle(shared_sandbox: httpx.Client, vendor: str) -> None:
    response = shared_sandbox.send(chat_request(shared_sandbox, vendor, "reset"), stream=True)

    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        response.read()

    assert int(response.headers["content-length"]) > 100
    assert was_billed(shared_sandbox)


def test_what_was_cut_can_be_settled_by_its_generation(shared_sandbox: httpx.Client) -> None:
    request = chat_request(shared_sandbox, OPENROUTER, "reset")
    response = shared_sandbox.send(request, stream=True)
    with pytest.raises(httpx.RemoteProtocolError):
        response.read()

    settled = generation(shared_sandbox, response.headers["x-generation-id"])

    cost = settled.json()["data"]["total_cost"]
    assert cost == float(last_call(shared_sandbox)["cost_usd"]) > 0


def test_the_first_tries_fail_and_then_it_works(sandbox: httpx.Client, vendor: str) -> None:
    statuses = [
        sandbox.send(chat_request(sandbox, vendor, "fail-then-ok-2")).status_code for _ in range(4)
    ]

    billed = [Decimal(call["cost_usd"]) > 0 for call in sandbox.get("/ledger").json()["calls"]]
    assert statuses == [500, 500, 200, 200]
    assert billed == [False, False, True, True]
