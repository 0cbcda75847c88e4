"""getUpdates hands out, waits, acknowledges and conflicts as Telegram's does."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from observatory.sandbox.journal import Journal
from observatory.sandbox.updates import CALLBACK_LIFETIME_S, MESSAGE_LIFETIME_S, Updates
from tests.sandbox.calling import MAYA, Json, bot, say, send, update_ids


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def wait_for_a_long_poll(sandbox: httpx.Client, threads: ThreadPoolExecutor) -> Future[Json]:
    """Start a long poll and return once the server holds it.

    The poll acknowledges its offset when it arrives, which is the state that can be seen.
    """
    say(sandbox, "acknowledged by the poll")
    newest = update_ids(sandbox)[-1]
    poll = threads.submit(bot, sandbox, "getUpdates", offset=newest + 1, timeout=5)
    while newest not in sandbox.get("/telegram/acknowledged").json()["acknowledged"]:
        pass
    return poll


def test_a_message_from_before_the_first_connection_is_delivered(sandbox: httpx.Client) -> None:
    say(sandbox, "/support a VP")

    update = bot(sandbox, "getUpdates")["result"][0]

    message = update["message"]
    assert message["text"] == "/support a VP"
    assert message["chat"] == {"type": "private"} | {
        "id": MAYA,
        "first_name": "Maya",
        "last_name": "Okafor",
        "username": "maya",
    }
    assert message["from"]["is_bot"] is False
    assert message["entities"] == [{"type": "bot_command", "offset": 0, "length": 8}]


def test_the_same_updates_come_again_until_they_are_acknowledged(sandbox: httpx.Client) -> None:
    for text in ("one", "two", "three"):
        say(sandbox, text)

    first = update_ids(sandbox, limit=2)
    again = update_ids(sandbox, offset=1)
    rest = update_ids(sandbox, offset=3)
    forgotten = update_ids(sandbox, offset=1)

    assert (first, again, rest, forgotten) == ([1, 2], [1, 2, 3], [3], [3])
    record = sandbox.get("/telegram/acknowledged").json()
    assert record == {"delivered": [1, 2, 1, 2, 3, 3, 3], "acknowledged": [1, 2]}


def test_the_same_offset_again_at_once_gets_one_update(sandbox: httpx.Client) -> None:
    for text in ("one", "two"):
        say(sandbox, text)

    assert update_ids(sandbox) == [1, 2]
    assert update_ids(sandbox) == [1]


def test_a_negative_offset_counts_from_the_end_and_forgets_the_rest(sandbox: httpx.Client) -> None:
    for text in ("one", "two", "three"):
        say(sandbox, text)

    assert update_ids(sandbox, offset=-1) == [3]
    assert update_ids(sandbox, offset=1) == [3]


def test_an_offset_from_the_future_does_not_lose_what_comes(sandbox: httpx.Client) -> None:
    update_ids(sandbox, offset=500)
    say(sandbox, "one")

    assert update_ids(sandbox, offset=501) == []
    say(sandbox, "two")
    assert update_ids(sandbox, offset=1) == [2]


def test_a_long_poll_ends_with_the_first_message(
    sandbox: httpx.Client, threads: ThreadPoolExecutor
) -> None:
    poll = wait_for_a_long_poll(sandbox, threads)

    say(sandbox, "Hello")

    assert [update["message"]["text"] for update in poll.result(5)["result"]] == ["Hello"]


def test_a_long_poll_without_news_ends_empty(sandbox: httpx.Client) -> None:
    assert update_ids(sandbox, timeout=1) == []


def test_a_second_poller_ends_the_first_one_with_a_conflict(
    sandbox: httpx.Client, threads: ThreadPoolExecutor
) -> None:
    poll = wait_for_a_long_poll(sandbox, threads)

    second = bot(sandbox, "getUpdates")

    assert second["ok"]
    assert poll.result(5)["error_code"] == 409
    assert poll.result(5)["description"] == (
        "Conflict: terminated by other getUpdates request;"
        " make sure that only one bot instance is running"
    )


def test_setting_a_webhook_ends_polling_until_it_is_deleted(
    sandbox: httpx.Client, threads: ThreadPoolExecutor
) -> None:
    poll = wait_for_a_long_poll(sandbox, threads)

    bot(sandbox, "setWebhook", url="https://example.com/hook")
    say(sandbox, "waiting")

    assert poll.result(5)["description"] == "Conflict: terminated by setWebhook request"
    assert bot(sandbox, "getUpdates")["error_code"] == 409
    info = bot(sandbox, "getWebhookInfo")["result"]
    assert (info["url"], info["pending_update_count"]) == ("https://example.com/hook", 1)
    bot(sandbox, "deleteWebhook")
    assert len(update_ids(sandbox)) == 1


def test_dropping_pending_updates_drops_them(sandbox: httpx.Client) -> None:
    say(sandbox, "one")

    bot(sandbox, "deleteWebhook", drop_pending_updates=True)

    assert update_ids(sandbox) == []


def test_a_webhook_needs_https(sandbox: httpx.Client) -> None:
    answer = bot(sandbox, "setWebhook", url="http://example.com")

    assert answer["description"].startswith("Bad Request: bad webhook")


def test_only_allowed_kinds_are_handed_out_and_the_choice_is_remembered(
    sandbox: httpx.Client,
) -> None:
    message = send(
        sandbox, reply_markup={"inline_keyboard": [[{"text": "x", "callback_data": "d"}]]}
    )
    press = {"message_id": message["message_id"], "data": "d"}
    sandbox.post(f"/chat/{MAYA}/press", json=press).raise_for_status()
    say(sandbox, "Hello")

    chosen = update_ids(sandbox, allowed_updates=["message"])
    remembered = update_ids(sandbox, offset=1)
    everything = update_ids(sandbox, offset=1, allowed_updates=[])

    assert (chosen, remembered, everything) == ([2], [2], [1])


def test_blocking_the_bot_is_an_update_too(sandbox: httpx.Client) -> None:
    bot(sandbox, "getMe")

    sandbox.post(f"/chat/{MAYA}/block")
    sandbox.post(f"/chat/{MAYA}/block", json={"blocked": False})

    changes = [update["my_chat_member"] for update in bot(sandbox, "getUpdates")["result"]]
    assert [change["new_chat_member"]["status"] for change in changes] == ["kicked", "member"]


def test_an_update_that_nobody_can_parse_can_be_injected(sandbox: httpx.Client) -> None:
    sandbox.post("/telegram/updates", json={"poll": {"id": "1"}}).raise_for_status()

    assert bot(sandbox, "getUpdates")["result"] == [{"update_id": 1, "poll": {"id": "1"}}]
    assert sandbox.post("/telegram/updates", json={"a": 1, "b": 2}).status_code == 400


def test_every_bot_gets_every_update(sandbox: httpx.Client) -> None:
    say(sandbox, "Hello")
    other = f"/telegram/bot777:{'B' * 35}/getUpdates"
    sandbox.get(other)

    update_ids(sandbox, offset=2)

    assert [update["update_id"] for update in sandbox.get(other).json()["result"]] == [1]


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_messages_live_a_day_and_callbacks_150_seconds() -> None:
    clock = Clock()
    updates = Updates(journal=Journal(None), clock=clock)
    query = {"id": "7", "from": {"id": MAYA}}
    updates.add("message", {}, lifetime_s=MESSAGE_LIFETIME_S)
    updates.add("callback_query", query, lifetime_s=CALLBACK_LIFETIME_S)

    def pending() -> list[int]:
        return [queued.update_id for queued in updates.pending(1)]

    assert (pending(), updates.asker("7")) == ([1, 2], MAYA)
    clock.now += 151
    assert (pending(), updates.asker("7")) == ([1], None)
    clock.now += 86_400
    assert pending() == []


def test_in_disorder_a_batch_comes_twice_and_backwards(sandbox: httpx.Client) -> None:
    for text in ("one", "two"):
        say(sandbox, text)

    assert sandbox.post("/telegram/disorder", json={"on": True}).json() == {"on": True}

    assert update_ids(sandbox) == [2, 1, 1, 2]
