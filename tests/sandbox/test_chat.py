"""The chat page's API, its events, and how the app treats requests that are none."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from observatory.sandbox import app as app_module
from observatory.sandbox import feed as feed_module
from observatory.sandbox.app import create_app
from observatory.sandbox.feed import Feed
from tests.sandbox.calling import KEY, MAYA, TOKEN, bot, complete, png, say, send
from tests.sandbox.serving import running_sandbox

PAGE = Path(app_module.__file__).parent / "static"


def events(client: httpx.Client, after: str, count: int, **headers: str) -> list[dict[str, str]]:
    """Return the next `count` events of Maya's chat as fields."""
    found: list[dict[str, str]] = []
    address = f"/chat/{MAYA}/events?after={after}"
    with client.stream("GET", address, headers=headers, timeout=5) as stream:
        for block in blocks(stream.iter_lines()):
            if "event" in block:
                found.append(block)
            if len(found) == count:
                return found
    raise AssertionError(f"the stream ended after {found}")


def blocks(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    block: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            block[name] = value
        else:
            yield block
            block = {}


def cursor(client: httpx.Client) -> str:
    value = client.get(f"/chat/{MAYA}/messages").json()["cursor"]
    assert isinstance(value, str)
    return value


def test_three_people_are_there_and_more_can_come(sandbox: httpx.Client) -> None:
    added = sandbox.post("/chat/people", json={"first_name": " Ada ", "username": "@ada"})

    people = sandbox.get("/chat/people").json()
    assert people["bot"] is None
    assert people["people"][0] == {
        "id": 1001,
        "first_name": "Maya",
        "last_name": "Okafor",
        "username": "maya",
        "note": "own OpenRouter key",
        "blocked": False,
    }
    assert [person["id"] for person in people["people"]] == [1001, 1002, 1003, 1004]
    assert added.json() == {"id": 1004, "first_name": "Ada", "username": "ada"} | {
        "note": "",
        "blocked": False,
    }


def test_the_bot_is_shown_once_it_connects(sandbox: httpx.Client) -> None:
    bot(sandbox, "getMe")

    assert sandbox.get("/chat/people").json()["bot"]["id"] == 123456


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/chat/people", {}, 400),
        ("/chat/people", {"first_name": 5}, 400),
        ("/chat/people", {"first_name": "x" * 65}, 400),
        ("/chat/people", [], 400),
        ("/chat/1001/messages", {"text": " "}, 400),
        ("/chat/1001/messages", {"text": "x" * 4097}, 400),
        ("/chat/1001/messages", {"text": "x", "reply_to_message_id": "1"}, 400),
        ("/chat/1001/messages", {"text": "x", "reply_to_message_id": 99}, 400),
        ("/chat/4242/messages", {"text": "x"}, 404),
        ("/chat/1001/press", {"message_id": 1}, 400),
        ("/chat/1001/press", {"message_id": 1, "data": "x"}, 400),
        ("/chat/1001/block", {"blocked": "yes"}, 400),
    ],
)
def test_a_malformed_request_gets_a_clear_error(
    shared_sandbox: httpx.Client, path: str, body: object, status: int
) -> None:
    response = shared_sandbox.post(path, json=body)

    assert response.status_code == status
    assert response.json()["error"]


def test_who_blocked_the_bot_must_unblock_it_to_write(sandbox: httpx.Client) -> None:
    sandbox.post(f"/chat/{MAYA}/block")

    refused = sandbox.post(f"/chat/{MAYA}/messages", json={"text": "Hi"})
    sandbox.post(f"/chat/{MAYA}/block", json={"blocked": False})

    assert refused.status_code == 409
    assert say(sandbox, "Hi")["text"] == "Hi"


def test_a_photo_needs_to_be_one(shared_sandbox: httpx.Client) -> None:
    address = f"/chat/{MAYA}/messages"

    no_picture = shared_sandbox.post(address, files={"photo": ("a.png", b"<svg>")})
    no_photo = shared_sandbox.post(address, files={"other": ("a.png", png())})

    assert (no_picture.status_code, no_photo.status_code) == (400, 400)


def test_only_pictures_are_shown_and_other_files_are_downloads(sandbox: httpx.Client) -> None:
    page = b"<script>alert(1)</script>"
    document = sandbox.post(
        f"/telegram/bot{TOKEN}/sendDocument",
        data={"chat_id": MAYA},
        files={"document": ("a.html", page, "text/html")},
    ).json()["result"]["document"]
    photo = sandbox.post(f"/chat/{MAYA}/messages", files={"photo": ("a.png", png())}).json()

    download = sandbox.get(f"/chat/{MAYA}/files/{document['file_id']}")
    picture = sandbox.get(f"/chat/{MAYA}/files/{photo['photo'][0]['file_id']}")

    assert download.headers["content-type"] == "application/octet-stream"
    assert download.headers["content-disposition"] == "attachment"
    assert picture.headers["content-type"] == "image/png"
    assert sandbox.get(f"/chat/{MAYA}/files/nothing").status_code == 404


def test_everything_that_happens_in_a_chat_is_an_event(sandbox: httpx.Client) -> None:
    start = cursor(sandbox)
    say(sandbox, "Hello")
    message = send(
        sandbox, reply_markup={"inline_keyboard": [[{"text": "x", "callback_data": "d"}]]}
    )
    target = {"chat_id": MAYA, "message_id": message["message_id"]}
    press = {"message_id": message["message_id"], "data": "d"}
    query = sandbox.post(f"/chat/{MAYA}/press", json=press).json()["callback_query_id"]
    bot(sandbox, "answerCallbackQuery", callback_query_id=query, text="Yes?")
    bot(sandbox, "editMessageText", **target, text="Done")
    bot(sandbox, "setMyCommands", commands=[])
    bot(sandbox, "deleteMessage", **target)
    bot(sandbox, "sendMessage", chat_id=1002, text="not for Maya")
    bot(sandbox, "sendMessage", chat_id=MAYA, text="?")
    complete(sandbox, "openai/gpt-4.1")

    seen = events(sandbox, start, 10)

    assert [event["event"] for event in seen] == [
        "message",
        "bot",
        "message",
        "toast",
        "edited",
        "commands",
        "deleted",
        "message",
        "call",
        "call",
    ]
    assert json.loads(seen[3]["data"]) == {"text": "Yes?", "show_alert": False}
    assert json.loads(seen[8]["data"])["status"] is None
    assert json.loads(seen[9]["data"])["status"] == 200
    assert KEY not in str(seen)


def test_a_page_that_reconnects_goes_on_where_it_was(sandbox: httpx.Client) -> None:
    start = cursor(sandbox)
    for text in ("one", "two", "three"):
        say(sandbox, text)

    first = events(sandbox, start, 1)[0]
    rest = events(sandbox, start, 2, **{"last-event-id": first["id"]})

    texts = [json.loads(event["data"])["text"] for event in (first, *rest)]
    assert texts == ["one", "two", "three"]


def test_a_page_from_an_earlier_life_is_told_to_load_afresh(sandbox: httpx.Client) -> None:
    assert events(sandbox, "0000-7", 1)[0]["event"] == "reset"


def test_a_page_that_fell_too_far_behind_is_told_to_load_afresh(monkeypatch) -> None:
    monkeypatch.setattr(feed_module, "KEPT_EVENTS", 2)
    monkeypatch.setattr(feed_module, "HEARTBEAT_S", 0.01)

    async def follow() -> list[bytes]:
        feed = Feed()
        start = feed.cursor
        for n in range(4):
            feed.publish("message", {"n": n}, person_id=1)
        stream = feed.follow(1, start)
        seen = [await anext(stream) for _ in range(3)]
        await stream.aclose()
        return seen

    _, reset, heartbeat = asyncio.run(follow())

    assert b"event: reset" in reset
    assert heartbeat == b": still here\n\n"


def test_the_page_is_strict_about_what_it_loads(shared_sandbox: httpx.Client) -> None:
    page = shared_sandbox.get("/")

    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "style=" not in page.text
    assert 'src="/' not in page.text
    assert 'href="/' not in page.text
    for asset in PAGE.iterdir():
        if asset.suffix != ".html":
            assert shared_sandbox.get(f"/static/{asset.name}").content == asset.read_bytes()
    assert shared_sandbox.get("/static/nothing.js").status_code == 404


def test_the_page_never_parses_text_as_html() -> None:
    for script in PAGE.glob("*.js"):
        source = script.read_text()
        assert "innerHTML" not in source
        assert "insertAdjacentHTML" not in source
        assert "document.write" not in source


@pytest.mark.parametrize("path", ["/ledger", "/telegram/faults"])
def test_pages_of_another_origin_cannot_act(shared_sandbox: httpx.Client, path: str) -> None:
    own = {"origin": str(shared_sandbox.base_url).rstrip("/")}

    foreign = shared_sandbox.delete(path, headers={"origin": "https://example.com"})
    opaque = shared_sandbox.delete(path, headers={"origin": "null"})

    assert (foreign.status_code, opaque.status_code) == (403, 403)
    assert shared_sandbox.delete(path, headers=own).status_code == 200


def test_unknown_paths_and_methods_have_their_own_errors(shared_sandbox: httpx.Client) -> None:
    assert shared_sandbox.get("/nothing").status_code == 404
    assert shared_sandbox.delete("/chat/people").status_code == 405


def test_a_body_above_the_limit_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(app_module, "MAX_BODY_BYTES", 1000)
    with running_sandbox() as base_url:
        response = httpx.post(f"{base_url}/chat/people", content=b"x" * 1001)

    assert response.status_code == 413


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{"),
        ("application/json", b'"text"'),
        ("application/json", b'{"text": "\\ud83d"}'),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n--b--"),
        ("multipart/form-data; boundary=b", b"--b\r\nno-header-end\r\n--b--"),
        ("multipart/form-data; boundary=b", b"--b\r\nX: y\r\n\r\nvalue\r\n--b--"),
        ("text/csv", b"a,b"),
    ],
)
def test_a_body_that_cannot_be_read_is_400_and_never_a_fault(
    shared_sandbox: httpx.Client, content_type: str, body: bytes
) -> None:
    response = shared_sandbox.post(
        f"/telegram/bot{TOKEN}/sendMessage", content=body, headers={"content-type": content_type}
    )

    assert response.status_code == 400
    assert response.json()["ok"] is False


def test_it_works_below_any_mount() -> None:
    async def visit() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app(), root_path="/sandbox")
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            paths = ("/sandbox/", "/sandbox/chat/people", "/sandbox", "/sandbox/nothing")
            return [await client.get(path) for path in paths]

    page, people, bare, nothing = asyncio.run(visit())

    assert "Sandbox" in page.text
    assert len(people.json()["people"]) == 3
    assert (bare.status_code, bare.headers["location"]) == (307, "http://test/sandbox/")
    assert nothing.status_code == 404


def test_open_streams_and_polls_end_politely_when_the_server_stops(caplog) -> None:
    ended: list[bytes] = []
    is_open = threading.Event()

    def follow(base_url: str) -> None:
        with httpx.stream("GET", f"{base_url}/chat/{MAYA}/events", timeout=60) as stream:
            is_open.set()
            ended.append(stream.read())

    with running_sandbox() as base_url:
        reader = threading.Thread(target=follow, args=(base_url,))
        reader.start()
        assert is_open.wait(5)
    reader.join(5)

    assert ended == [b"retry: 1000\n\n"]
    assert "Exception in ASGI application" not in caplog.text
