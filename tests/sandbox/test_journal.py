"""A sandbox that is killed comes back with its chats, updates and files, and without any key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.sandbox.calling import KEY, MAYA, TOKEN, bot, complete, png, say, send, update_ids
from tests.sandbox.serving import running_sandbox

KEYBOARD = {"inline_keyboard": [[{"text": "Shorter", "callback_data": "shorter"}]]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "sandbox.jsonl"


@contextmanager
def a_life(path: Path) -> Iterator[httpx.Client]:
    with running_sandbox(journal=path) as base_url, httpx.Client(base_url=base_url) as client:
        yield client


def a_conversation(client: httpx.Client) -> None:
    """Two updates, the first acknowledged; an edit, a deletion, a photo, commands."""
    say(client, "/support a VP")
    update_ids(client)
    update_ids(client, offset=2)
    answer = send(client, "Working…")
    target = {"chat_id": MAYA, "message_id": answer["message_id"]}
    bot(client, "editMessageText", **target, text="Done", reply_markup=KEYBOARD)
    gone = send(client, "gone soon")
    bot(client, "deleteMessage", chat_id=MAYA, message_id=gone["message_id"])
    bot(client, "setMyCommands", commands=[{"command": "help", "description": "Help"}])
    client.post(f"/chat/{MAYA}/messages", files={"photo": ("a.png", png(), "image/png")})
    client.post("/chat/people", json={"first_name": "Ada"})


def everything(client: httpx.Client) -> dict[str, object]:
    chat = client.get(f"/chat/{MAYA}/messages").json()
    del chat["cursor"]
    return {
        "chat": chat,
        "people": client.get("/chat/people").json()["people"],
        "commands": client.get(f"/chat/{MAYA}/commands").json(),
        "webhook": bot(client, "getWebhookInfo"),
    }


def test_everything_is_there_after_a_restart(path: Path) -> None:
    with a_life(path) as client:
        a_conversation(client)
        before = everything(client)

    with a_life(path) as client:
        assert everything(client) == before
        photo = client.get(f"/chat/{MAYA}/messages").json()["messages"][-1]["photo"][-1]
        assert client.get(f"/chat/{MAYA}/files/{photo['file_id']}").content == png()


def test_ids_go_on_growing_after_a_restart(path: Path) -> None:
    with a_life(path) as client:
        a_conversation(client)

    with a_life(path) as client:
        assert send(client)["message_id"] == 5
        say(client, "again")
        assert update_ids(client) == [2, 3]
        new = {"first_name": "Bob"}
        assert client.post("/chat/people", json=new).json()["id"] == 1005


def test_a_button_pressed_before_the_restart_can_be_answered_after_it(path: Path) -> None:
    with a_life(path) as client:
        message_id = send(client, reply_markup=KEYBOARD)["message_id"]
        client.post(f"/chat/{MAYA}/press", json={"message_id": message_id, "data": "shorter"})

    with a_life(path) as client:
        query = bot(client, "getUpdates")["result"][0]["callback_query"]
        assert bot(client, "answerCallbackQuery", callback_query_id=query["id"])["ok"]


def test_a_torn_last_line_is_ignored_and_does_not_spoil_the_next(path: Path) -> None:
    with a_life(path) as client:
        say(client, "whole")
    with path.open("a") as file:
        file.write('{"kind":"message","method":null,"mess')

    with a_life(path) as client:
        say(client, "after the kill")

    with a_life(path) as client:
        messages = client.get(f"/chat/{MAYA}/messages").json()["messages"]
        assert [message["text"] for message in messages] == ["whole", "after the kill"]


def test_lines_of_another_version_are_skipped(path: Path) -> None:
    path.parent.mkdir()
    lines = ['{"kind":"unknown"}', '{"kind":"message"}', "[]", "\x00", '{"kind":"file"}']
    path.write_text("\n".join(lines) + "\n")

    with a_life(path) as client:
        assert say(client, "Hello")["message_id"] == 1


def test_no_key_and_no_token_reaches_the_file(path: Path) -> None:
    secret_token = "987654321:" + "s3cr3t_" * 5
    with a_life(path) as client:
        complete(client, "openai/gpt-4.1", "a prompt")
        message = say(client, f"my key is {KEY} and my token {secret_token}, thanks 🙂")
        bot(client, "sendMessage", chat_id=MAYA, text=f"You wrote {KEY}")

    text = path.read_text()
    assert KEY not in text
    assert secret_token not in text
    assert TOKEN not in text
    kept = json.loads(text.splitlines()[0])["message"]["text"]
    assert len(kept) == len(message["text"])
    assert kept.endswith(", thanks 🙂")
