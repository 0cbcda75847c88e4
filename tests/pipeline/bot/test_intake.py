"""Updates on their way in: stored before they are acknowledged, each once, whatever they hold."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError
from django.test import SimpleTestCase, TransactionTestCase
from django.utils import timezone
from telegram import Bot
from telegram.error import NetworkError

from pipeline.bot.intake import NOTICE_EVERY, lane_of, store
from pipeline.bot.transport import PersistingRequest, updates_in
from pipeline.models import Task, TelegramUpdate
from pipeline.models.inbox import TaskKind, TaskStatus
from pipeline.queue import pastes
from tests.canaries import BOT_TOKEN, CLAUDE_KEY
from tests.pipeline.bot.chatting import MAYA, BotCase, Chat
from tests.sandbox.serving import running_sandbox

BOT_ID = 7_000_000_001


def said(update_id: int, text: str, chat_id: int = MAYA, **more: Any) -> dict[str, Any]:
    """Return an update with a message in a private chat, written just now."""
    message = {
        "message_id": update_id,
        "date": int(time.time()),
        "chat": {"id": chat_id, "type": "private"},
        "from": {"id": chat_id, "is_bot": False, "first_name": "Maya"},
        "text": text,
        **more,
    }
    return {"update_id": update_id, "message": message}


def command(text: str) -> dict[str, Any]:
    length = len(text.split(" ")[0])
    return {"text": text, "entities": [{"type": "bot_command", "offset": 0, "length": length}]}


def add(tasks: Sequence[Task]) -> None:
    Task.objects.bulk_create(tasks)


def kinds() -> list[str]:
    return list(Task.objects.order_by("pk").values_list("kind", flat=True))


class StoreTests(TransactionTestCase):
    def test_an_update_that_comes_again_is_stored_once(self):
        assert store(BOT_ID, [said(5, "one"), said(6, "two"), said(5, "one")], add) == 2

        assert store(BOT_ID, [said(6, "two"), said(7, "three")], add) == 1
        assert store(BOT_ID + 1, [said(6, "to another bot")], add) == 1
        assert TelegramUpdate.objects.count() == Task.objects.exclude(kind="notice").count() == 4

    def test_what_comes_out_of_order_in_a_batch_is_put_right(self):
        store(BOT_ID, [said(9, "c"), said(7, "a"), said(8, "b")], add)

        tasks = Task.objects.filter(kind=TaskKind.MESSAGE).order_by("pk")
        assert [task.update.update_id for task in tasks if task.update] == [7, 8, 9]

    def test_a_batch_whose_tasks_cannot_be_added_leaves_nothing(self):
        def break_down(tasks: Sequence[Task]) -> None:
            raise DatabaseError("the disk is full, for the test")

        with pytest.raises(DatabaseError):
            store(BOT_ID, [said(1, "one")], break_down)

        assert not TelegramUpdate.objects.exists()

    def test_a_message_behind_an_open_one_is_announced_and_a_part_of_an_album_is_not(self):
        store(BOT_ID, [said(1, "one"), said(2, "two"), said(3, "", media_group_id="album")], add)
        assert kinds() == ["message", "message", "notice", "message"]

        store(BOT_ID, [said(4, "in another chat", chat_id=1002)], add)
        assert kinds()[4:] == ["message"]

    def test_a_chat_is_told_once_in_a_while_and_not_of_what_is_old(self):
        an_hour_ago = int(time.time()) - 3600
        store(BOT_ID, [said(n, "words", date=an_hour_ago) for n in (1, 2)], add)
        assert kinds() == ["message"] * 2

        store(BOT_ID, [said(n, "words") for n in (3, 4)], add)
        store(BOT_ID, [said(5, "words")], add)
        assert kinds()[2:] == ["message", "notice", "message", "message"]

        notices = Task.objects.filter(kind="notice")
        notices.update(created_at=timezone.now() - 2 * NOTICE_EVERY, status=TaskStatus.SUCCESSFUL)
        store(BOT_ID, [said(6, "words"), said(7, "words", chat_id=1002)], add)
        assert kinds()[6:] == ["message"] * 2  # the line about the third still stands there

        Task.objects.filter(update__update_id=3).update(status=TaskStatus.SUCCESSFUL)
        store(BOT_ID, [said(8, "words")], add)
        assert kinds()[8:] == ["message", "notice"]

    def test_behind_a_paste_that_is_being_answered_a_chat_is_told_like_behind_any_message(self):
        store(BOT_ID, [said(1, "a" * 4096)], add)
        tasks = Task.objects.all()
        tasks.filter(kind="message").update(status=TaskStatus.RUNNING, worker="w")
        tasks.filter(kind="notice").update(
            status=TaskStatus.SUCCESSFUL, created_at=timezone.now() - 2 * NOTICE_EVERY
        )
        store(BOT_ID, [said(2, "words")], add)

        assert kinds() == ["message", "notice", "message", "notice"]

    def test_a_long_text_is_due_later_has_a_placeholder_and_its_parts_have_none(self):
        before = timezone.now()
        store(BOT_ID, [said(1, "a" * 4096), said(2, "b" * 4096)], add)
        store(BOT_ID, [said(3, "the end")], add)

        first, second, third = Task.objects.filter(kind=TaskKind.MESSAGE).order_by("pk")
        assert [task.is_paste for task in (first, second, third)] == [True, True, False]
        assert first.due_at is not None
        assert timedelta() < first.due_at - before - pastes.WAIT < timedelta(seconds=5)
        assert third.due_at is None
        assert [task.update_id for task in Task.objects.filter(kind="notice")] == [first.update_id]

    def test_units_are_counted_as_telegram_counts_them(self):
        store(BOT_ID, [said(1, "😀" * 2000), said(2, "😀" * 1999, chat_id=1002)], add)

        assert [task.is_paste for task in Task.objects.filter(kind="message")] == [True, False]

    def test_a_message_in_a_group_is_not_announced(self):
        group: dict[str, Any] = {"chat": {"id": -5, "type": "supergroup"}}

        store(BOT_ID, [said(1, "one", **group), said(2, "two", **group)], add)

        assert kinds() == ["message", "message"]

    def test_a_key_is_never_stored_and_a_file_that_looks_like_one_is_left_alone(self):
        file_id = "AgAD-sk-abcdefghijklmnop"
        photo = [{"file_id": file_id, "file_unique_id": "u", "width": 1, "height": 1}]
        store(BOT_ID, [said(1, f"my key: {CLAUDE_KEY}"), said(2, "", photo=photo)], add)

        with_key, without = TelegramUpdate.objects.order_by("update_id")
        assert (with_key.holds_key, without.holds_key) == (True, False)
        assert CLAUDE_KEY not in with_key.raw
        assert json.loads(without.raw)["message"]["photo"][0]["file_id"] == file_id

    def test_strange_texts_and_ids_are_stored(self):
        for number, text in enumerate(["\x00", "\ud800", "x" * 1_000_000, "\u202eabc"], start=1):
            store(BOT_ID, [said(number, text)], add)
        store(BOT_ID, [{"update_id": 9, "message": {"chat": {"id": 2**70}, "from": []}}], add)
        store(BOT_ID, [{"update_id": 10, "message": "no object"}, {"update_id": 11}], add)

        assert TelegramUpdate.objects.count() == 7
        assert (
            json.loads(TelegramUpdate.objects.get(update_id=2).raw)["message"]["text"] == "\ud800"
        )

    def test_a_strange_update_keeps_no_other_one_from_being_stored(self):
        deep: Any = {}
        for _ in range(600):
            deep = {"a": deep}
        strange: list[dict[str, Any]] = [
            {"update_id": 1, "message": {"x": deep}},
            said(2, "", media_group_id="\ud800\x00"),
            {"update_id": 3, "a\x00\ud800": {}},
            {"update_id": 4, "message": {"chat": {"id": 10**5000}, "from": None}},
            {"update_id": 5, "message": {"message_id": 10**5000}},
        ]

        assert store(BOT_ID, [*strange, said(6, "hello")], add) == 6

        unkept = TelegramUpdate.objects.filter(kind="").values_list("update_id", flat=True)
        assert set(unkept) == {1, 4, 5}

    def test_a_kind_that_nobody_knows_yet_is_stored_and_waits_for_nothing(self):
        store(BOT_ID, [{"update_id": 1, "a_kind_to_come": {"chat": {"id": 5}}}], add)

        task = Task.objects.select_related("update").get()
        assert task.update is not None
        assert (task.kind, task.update.kind) == (TaskKind.CONTROL, "a_kind_to_come")


class LaneTests(SimpleTestCase):
    def test_each_chat_and_topic_has_an_order_of_its_own(self):
        topic = {"message_thread_id": 3, "is_topic_message": True}
        table = [
            (said(1, "hello"), f"{MAYA}:"),
            (said(1, "hello", chat_id=-5, **topic), "-5:3"),
            (said(1, "a reply", chat_id=-5, message_thread_id=3), "-5:"),
            (said(1, **command("/support a VP")), f"{MAYA}:"),
            (said(1, **command("/cancel")), ""),
            (said(1, **command("/CANCEL@observatory_bot now")), ""),
            (said(1, **command("/help")), ""),
            (said(1, "/cancel, said in passing"), f"{MAYA}:"),
            ({"update_id": 1, "callback_query": {"id": "1", "from": {"id": 5}}}, ""),
        ]
        for update, lane in table:
            with self.subTest(lane=lane, update=update):
                assert lane_of(update) == lane


class ReadingTests(SimpleTestCase):
    def test_a_number_too_long_to_read_blocks_no_other_update(self):
        before, after = (json.dumps(said(number, "hello")) for number in (6, 8))
        long = '{"update_id": 7, "message": ' + "9" * 5000 + "}"

        updates = updates_in(f'{{"ok": true, "result": [{before}, {long}, {after}]}}')

        assert [len(update) for update in updates] == [2, 1, 2]

    def test_an_update_nested_too_deeply_blocks_no_other_one(self):
        deep = '{"update_id": 7, "message": {"text": "]}\\"{[", "x": ' + "[" * 10_000
        deep += "]" * 10_000 + "}}"
        before, after = (json.dumps(said(number, "] } [ {")) for number in (6, 8))

        updates = updates_in(f'{{"ok": true, "result": [{before}, {deep}, {after}]}}')

        assert [update["update_id"] for update in updates] == [6, 7, 8]
        assert [len(update) for update in updates] == [2, 1, 2]


class RequestTests(BotCase):
    async def test_what_cannot_be_stored_is_not_acknowledged_and_comes_again(self):
        is_broken = True

        def sometimes(tasks: Sequence[Task]) -> None:
            if is_broken:
                raise DatabaseError("away, for the test")
            add(tasks)

        with running_sandbox() as base_url:
            chat = Chat(base_url)
            request = PersistingRequest(BOT_ID, sometimes)
            address = f"{base_url}/telegram/bot"
            async with Bot(BOT_TOKEN, base_url=address, get_updates_request=request) as bot:
                await chat.say(MAYA, "hello")
                with pytest.raises(NetworkError):
                    await bot.get_updates()
                is_broken = False
                (hollow,) = await bot.get_updates()
                assert await chat.acknowledged() == []
                await bot.get_updates(offset=hollow.update_id + 1)
                assert await chat.acknowledged() == [hollow.update_id]
            await chat.aclose()

        assert hollow.message is None
        assert await TelegramUpdate.objects.acount() == 1

    async def test_an_update_that_was_too_deep_is_a_dead_letter(self):
        async with self.bot() as chat:
            await chat.say(MAYA, "/help")
            await chat.sees_text(MAYA, "/support")
            deep = [{"update_id": 99}]
            await sync_to_async(store)(BOT_ID, deep, add)
            while not await Task.objects.filter(status=TaskStatus.DEAD_LETTER).aexists():
                await chat.replies(MAYA)

        dead = await Task.objects.aget(status=TaskStatus.DEAD_LETTER)
        assert "of no shape that can be kept" in dead.error
