"""The Bot API's methods answer and refuse as Telegram's do."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from observatory.sandbox.web import Refused
from tests.misbehaviours.limits import RateLimit
from tests.sandbox.calling import MAYA, TOKEN, bot, png, say, send, update_ids

KEYBOARD = {"inline_keyboard": [[{"text": "Shorter", "callback_data": "shorter:1"}]]}
ITALIC = {"type": "italic", "offset": 0, "length": 4}
NOT_MODIFIED = (
    "Bad Request: message is not modified: specified new message content and reply markup"
    " are exactly the same as a current content and reply markup of the message"
)


def description(client: httpx.Client, method: str, **values: Any) -> str:
    answer = bot(client, method, **values)
    assert answer["ok"] is False
    text = answer["description"]
    assert isinstance(text, str)
    return text


def edit(client: httpx.Client, message: dict[str, Any], **values: Any) -> dict[str, Any]:
    target = {"chat_id": MAYA, "message_id": message["message_id"]}
    return bot(client, "editMessageText", **target | values)


def test_a_bot_is_known_by_its_token(shared_sandbox: httpx.Client) -> None:
    me = bot(shared_sandbox, "getMe")["result"]

    assert (me["id"], me["is_bot"], me["username"]) == (123456, True, "observatory_sandbox_bot")


@pytest.mark.parametrize("token", ["123456", "123456:short", "x:" + "A" * 35])
def test_a_bad_token_is_unauthorized(shared_sandbox: httpx.Client, token: str) -> None:
    response = shared_sandbox.get(f"/telegram/bot{token}/getMe")

    assert response.status_code == 401
    assert response.json() == {"ok": False, "error_code": 401, "description": "Unauthorized"}


def test_an_unknown_method_is_not_found(shared_sandbox: httpx.Client) -> None:
    response = shared_sandbox.post(f"/telegram/bot{TOKEN}/sendGift")

    assert response.status_code == 404
    assert response.json()["description"] == "Not Found: method not found"


def test_method_names_are_read_in_any_case(shared_sandbox: httpx.Client) -> None:
    assert bot(shared_sandbox, "GETME")["ok"]


def test_parameters_come_as_json_form_multipart_or_query(sandbox: httpx.Client) -> None:
    address = f"/telegram/bot{TOKEN}/sendMessage"
    values = {"chat_id": str(MAYA), "text": "Hi & “bye” +1", "reply_markup": json.dumps(KEYBOARD)}

    answers = [
        sandbox.post(address, json=values),
        sandbox.post(address, data=values),
        sandbox.post(address, data=values, files={"unused": b"x"}),
        sandbox.get(address, params=values),
    ]

    for answer in answers:
        message = answer.json()["result"]
        assert message["text"] == "Hi & “bye” +1"
        assert message["reply_markup"] == KEYBOARD


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"text": ""}, "message text is empty"),
        ({"text": " \n "}, "message text is empty"),
        ({"text": "x" * 4097}, "message is too long"),
        ({"text": "😀" * 2049}, "message is too long"),
        ({"chat_id": 4242}, "chat not found"),
        ({"chat_id": "@channel"}, "chat not found"),
        ({"chat_id": ""}, "chat_id is empty"),
        ({"text": {"a": 1}}, "text must be a String"),
        ({"reply_markup": "{"}, "can't parse reply_markup"),
        ({"reply_markup": []}, "reply_markup has the wrong type"),
        (
            {"reply_markup": {"inline_keyboard": [{}]}},
            "0: Input should be a valid list",
        ),
        ({"reply_markup": {"inline_keyboard": [[{"text": "x"}]]}}, "callback_data: Field required"),
        ({"reply_markup": {"inline_keyboard": [[{"url": "x"}]]}}, "text: Field required"),
        (
            {"reply_markup": {"inline_keyboard": [[{"text": "x", "url": "javascript:1"}]]}},
            "can't parse reply_markup",
        ),
        (
            {"reply_markup": {"inline_keyboard": [[{"text": "x", "callback_data": "é" * 33}]]}},
            "at most 64 bytes",
        ),
        ({"parse_mode": "HTML", "text": "<b>x"}, "not parse_mode"),
        ({"entities": [{"type": "bold", "offset": 0, "length": 99}]}, "ends after the end"),
        ({"reply_parameters": {"message_id": 99}}, "message to be replied not found"),
    ],
)
def test_a_message_that_telegram_refuses_is_refused(
    shared_sandbox: httpx.Client, values: dict[str, Any], expected: str
) -> None:
    shared_sandbox.post("/telegram/limits", json={"on": False})

    text = description(shared_sandbox, "sendMessage", **{"chat_id": MAYA, "text": "Hi"} | values)

    assert text.startswith("Bad Request: ")
    assert expected in text


def test_text_is_trimmed_and_its_entities_move_along(sandbox: httpx.Client) -> None:
    message = send(sandbox, "\n  Hi you  ", entities=[{"type": "bold", "offset": 0, "length": 11}])

    assert message["text"] == "Hi you"
    assert message["entities"] == [{"type": "bold", "offset": 0, "length": 6}]


def test_a_message_of_exactly_4096_units_is_sent(sandbox: httpx.Client) -> None:
    assert send(sandbox, "😀" * 2048)["text"] == "😀" * 2048


def test_an_edit_replaces_text_and_keyboard(sandbox: httpx.Client) -> None:
    message = send(sandbox, "Working…", reply_markup=KEYBOARD)

    edited = edit(sandbox, message, text="Done", entities=[ITALIC])["result"]

    assert edited["text"] == "Done"
    assert edited["entities"] == [ITALIC]
    assert "reply_markup" not in edited
    assert edited["edit_date"] >= message["date"]


def test_an_edit_that_changes_nothing_says_so(sandbox: httpx.Client) -> None:
    message = send(sandbox, "Done", reply_markup=KEYBOARD)

    same = edit(sandbox, message, text=" Done ", reply_markup=KEYBOARD)
    other_keyboard = edit(sandbox, message, text="Done")

    assert (same["error_code"], same["description"]) == (400, NOT_MODIFIED)
    assert other_keyboard["ok"]


def test_only_own_messages_with_text_can_be_edited(sandbox: httpx.Client) -> None:
    theirs = say(sandbox, "Hello")
    photo = sandbox.post(
        f"/telegram/bot{TOKEN}/sendPhoto", data={"chat_id": MAYA}, files={"photo": png()}
    ).json()["result"]

    assert edit(sandbox, theirs, text="x")["description"].endswith("message can't be edited")
    assert "there is no text" in edit(sandbox, photo, text="x")["description"]
    missing = edit(sandbox, {"message_id": 99}, text="x")
    assert missing["description"] == "Bad Request: message to edit not found"


def test_a_bot_deletes_messages_of_both_sides_once(sandbox: httpx.Client) -> None:
    theirs, mine = say(sandbox, "my key"), send(sandbox)

    for message in (theirs, mine):
        target = {"chat_id": MAYA, "message_id": message["message_id"]}
        assert bot(sandbox, "deleteMessage", **target)["result"] is True
        assert "to delete not found" in description(sandbox, "deleteMessage", **target)
    assert sandbox.get(f"/chat/{MAYA}/messages").json()["messages"] == []


def test_a_reply_carries_the_message_it_answers(sandbox: httpx.Client) -> None:
    question = say(sandbox, "Why?")

    answer = send(sandbox, "Because", reply_parameters={"message_id": question["message_id"]})
    lenient = send(
        sandbox, reply_parameters={"message_id": 99, "allow_sending_without_reply": True}
    )

    assert answer["reply_to_message"]["text"] == "Why?"
    assert "reply_to_message" not in lenient


def test_who_blocked_the_bot_gets_nothing(sandbox: httpx.Client) -> None:
    sandbox.post(f"/chat/{MAYA}/block")

    answer = bot(sandbox, "sendMessage", chat_id=MAYA, text="Hi")

    assert answer["error_code"] == 403
    assert answer["description"] == "Forbidden: bot was blocked by the user"


def test_a_pressed_button_is_answered_while_it_is_fresh(sandbox: httpx.Client) -> None:
    message = send(sandbox, reply_markup=KEYBOARD)
    press = {"message_id": message["message_id"], "data": "shorter:1"}
    query_id = sandbox.post(f"/chat/{MAYA}/press", json=press).json()["callback_query_id"]

    update = bot(sandbox, "getUpdates")["result"][0]["callback_query"]

    assert (update["id"], update["data"], update["from"]["id"]) == (query_id, "shorter:1", MAYA)
    assert update["message"]["message_id"] == message["message_id"]
    assert bot(sandbox, "answerCallbackQuery", callback_query_id=query_id)["result"] is True
    unknown = description(sandbox, "answerCallbackQuery", callback_query_id="1")
    assert unknown == (
        "Bad Request: query is too old and response timeout expired or query ID is invalid"
    )


def test_a_document_comes_back_byte_for_byte(sandbox: httpx.Client) -> None:
    data = bytes(range(256)) * 10 + b"\r\n--boundary--\r\n"
    message = sandbox.post(
        f"/telegram/bot{TOKEN}/sendDocument",
        data={"chat_id": MAYA, "caption": "All of it"},
        files={"document": ("answer.md", data, "text/markdown")},
    ).json()["result"]

    file = bot(sandbox, "getFile", file_id=message["document"]["file_id"])["result"]

    assert message["document"]["file_name"] == "answer.md"
    assert message["caption"] == "All of it"
    downloaded = sandbox.get(f"/telegram/file/bot{TOKEN}/{file['file_path']}")
    assert downloaded.content == data
    resent = bot(sandbox, "sendDocument", chat_id=MAYA, document=file["file_id"])["result"]
    assert resent["document"] == message["document"]


def test_files_that_are_wrong_are_refused(shared_sandbox: httpx.Client) -> None:
    def upload(data: bytes, **values: Any) -> str:
        response = shared_sandbox.post(
            f"/telegram/bot{TOKEN}/sendPhoto",
            data={"chat_id": MAYA} | values,
            files={"photo": ("a.png", data)},
        )
        text = response.json()["description"]
        assert isinstance(text, str)
        return text

    shared_sandbox.post("/telegram/limits", json={"on": False})
    assert "file must be non-empty" in upload(b"")
    assert "IMAGE_PROCESS_FAILED" in upload(b"no picture")
    assert "caption is too long" in upload(png(), caption="x" * 1025)
    assert "Too Large" in upload(b"x" * (10 * 1024 * 1024 + 1))
    unknown = description(shared_sandbox, "sendPhoto", chat_id=MAYA, photo="https://example.com/a")
    assert "wrong file identifier" in unknown
    assert "wrong file_id" in description(shared_sandbox, "getFile", file_id="nothing")
    missing = shared_sandbox.get(f"/telegram/file/bot{TOKEN}/photos/file_999.png")
    assert missing.status_code == 404


def test_a_file_above_20_megabytes_cannot_be_fetched(sandbox: httpx.Client) -> None:
    message = sandbox.post(
        f"/telegram/bot{TOKEN}/sendDocument",
        data={"chat_id": MAYA},
        files={"document": ("big.bin", b"x" * (20 * 1024 * 1024 + 1))},
        timeout=30,
    ).json()["result"]

    text = description(sandbox, "getFile", file_id=message["document"]["file_id"])

    assert text == "Bad Request: file is too big"


def test_commands_are_offered_to_people(sandbox: httpx.Client) -> None:
    commands = [{"command": "help", "description": "What I can do"}]
    bot(sandbox, "setMyCommands", commands=commands)

    assert sandbox.get(f"/chat/{MAYA}/commands").json()["commands"] == commands


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ([{"command": "With-Dash", "description": "x"}], "0.command: String should match"),
        ([{"command": "help", "description": ""}], "0.description: String should have"),
        (["help"], "0: Input should be a valid dictionary"),
        ([{"command": "x", "description": "y"}] * 101, "at most 100 items"),
    ],
)
def test_bad_commands_are_refused(
    shared_sandbox: httpx.Client, commands: list[Any], expected: str
) -> None:
    assert expected in description(shared_sandbox, "setMyCommands", commands=commands)


def test_every_send_edit_and_deletion_is_on_record(sandbox: httpx.Client) -> None:
    first, second = send(sandbox, "Working…"), send(sandbox, "Other")
    edit(sandbox, first, text="Done", reply_markup=KEYBOARD)
    bot(sandbox, "deleteMessage", chat_id=MAYA, message_id=second["message_id"])

    rows = sandbox.get("/telegram/sent").json()["sent"]

    assert [row["message_id"] for row in rows] == [first["message_id"], second["message_id"]]
    assert [(e["n"], e["method"], e.get("text")) for e in rows[0]["history"]] == [
        (1, "sendMessage", "Working…"),
        (3, "editMessageText", "Done"),
    ]
    assert rows[0]["history"][1]["reply_markup"] == KEYBOARD
    assert [row["is_deleted"] for row in rows] == [False, True]
    newer = sandbox.get("/telegram/sent?after=3").json()["sent"]
    assert [row["message_id"] for row in newer] == [second["message_id"]]


def test_a_keyboard_is_replaced_and_removed_alone(sandbox: httpx.Client) -> None:
    message = bot(sandbox, "sendMessage", chat_id=MAYA, text="Hi", reply_markup=KEYBOARD)["result"]
    target = {"chat_id": MAYA, "message_id": message["message_id"]}

    removed = bot(sandbox, "editMessageReplyMarkup", **target)["result"]
    put_back = bot(sandbox, "editMessageReplyMarkup", **target, reply_markup=KEYBOARD)["result"]

    assert (removed["text"], "reply_markup" in removed) == ("Hi", False)
    assert (put_back["text"], put_back["reply_markup"]) == ("Hi", KEYBOARD)
    again = description(sandbox, "editMessageReplyMarkup", **target, reply_markup=KEYBOARD)
    assert again == NOT_MODIFIED


def test_a_scripted_fault_hits_as_often_as_it_was_asked_to(sandbox: httpx.Client) -> None:
    script = {"method": "sendMessage", "chat_id": MAYA, "error_code": 429, "retry_after": 3}
    sandbox.post("/telegram/faults", json=script | {"count": 2}).raise_for_status()

    answers = [bot(sandbox, "sendMessage", chat_id=MAYA, text="Hi") for _ in range(3)]
    other = bot(sandbox, "getMe")

    assert [answer["ok"] for answer in answers] == [False, False, True]
    assert answers[0]["parameters"] == {"retry_after": 3}
    assert answers[0]["description"] == "Too Many Requests: retry after 3"
    assert other["ok"]


def test_faults_can_be_general_and_be_dropped(sandbox: httpx.Client) -> None:
    sandbox.post("/telegram/faults", json={"error_code": 502, "count": 5})

    failed = sandbox.post(f"/telegram/bot{TOKEN}/getUpdates")
    sandbox.delete("/telegram/faults")

    assert failed.status_code == 502
    assert update_ids(sandbox) == []


def test_a_flood_is_stopped_in_its_chat_only(sandbox: httpx.Client) -> None:
    for _ in range(20):
        send(sandbox)

    flooded = bot(sandbox, "sendMessage", chat_id=MAYA, text="Hi")
    elsewhere = bot(sandbox, "sendMessage", chat_id=1002, text="Hi")

    assert (flooded["error_code"], flooded["parameters"]) == (429, {"retry_after": 3})
    assert elsewhere["ok"]
    sandbox.post("/telegram/limits", json={"on": False})
    assert bot(sandbox, "sendMessage", chat_id=MAYA, text="Hi")["ok"]


def test_a_held_chat_is_free_again_after_the_time_it_was_told() -> None:
    now = 1000.0
    limit = RateLimit(clock=lambda: now)

    def is_held(chat_id: int) -> bool:
        try:
            limit.check(chat_id)
        except Refused:
            return True
        return False

    assert [is_held(1) for _ in range(21)] == [False] * 20 + [True]
    now += 1
    assert [is_held(-1) for _ in range(21)] == [False] * 20 + [True]
    now += 1.5
    with pytest.raises(Refused, match="retry after 1"):
        limit.check(1)
    now += 8
    assert not is_held(1)
    assert is_held(-1), "a group's window is a minute"


def test_no_second_takes_more_than_thirty_sends_and_the_most_of_any_is_told() -> None:
    now = 1000.0
    limit = RateLimit(clock=lambda: now)

    for chat_id in range(1, 31):
        limit.check(chat_id)
        now += 0.02
    with pytest.raises(Refused, match="retry after 1"):
        limit.check(31)
    now += 0.5
    limit.check(31)

    assert (limit.most_in_a_second, limit.calls) == (31, 32)


def test_a_bots_private_chats_count_their_messages_together_and_a_group_by_itself(
    sandbox: httpx.Client,
) -> None:
    said = [say(sandbox, "Hello", person_id=person)["message_id"] for person in (MAYA, 1002, MAYA)]
    answer = send(sandbox, "Hi")["message_id"]

    assert [said[1] - said[0], said[2] - said[1], answer - said[2]] == [1, 1, 1]
