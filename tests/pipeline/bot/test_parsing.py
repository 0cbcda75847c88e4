"""What can be read of an update is answered, whatever a part of it looks like."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import SimpleTestCase
from telegram import Bot, Message, Update

from pipeline.bot.parsing import NotForUs, Unreadable, parse
from tests.canaries import BOT_TOKEN
from tests.pipeline.bot.kinds import BESIDE_TEXT, CONTENT, NOT_WANTED, Json, message, updates

BOT = Bot(BOT_TOKEN)
ODD: list[Any] = [None, True, "x", 2**70, [], {}, [None], {"a": {}}]
CHANCE = random.Random(7)
# Without these nobody can be answered.
ESSENTIAL = {("message",), ("callback_query",)} | {
    (kind, *path)
    for kind in ("message", "callback_query")
    for path in (("from",), ("from", "id"), ("chat",), ("chat", "id"), ("id",))
}


def paths(value: Any, *above: Any) -> Iterator[tuple[Any, ...]]:
    """Yield where every field of an update stands, at any depth."""
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*above, key)
            yield from paths(part, *above, key)


def at(update: Json, path: tuple[Any, ...], *value: Any) -> Json:
    """Return the update with one field replaced, or removed if there is no value."""
    changed: Json = json.loads(json.dumps(update))  # no part of it is another one, too
    parent: Any = changed
    for key in path[:-1]:
        parent = parent[key]
    if value:
        parent[path[-1]] = value[0]
    else:
        del parent[path[-1]]
    return changed


def text_of(update: Update) -> str:
    assert update.message is not None
    return update.message.text or ""


class FieldTests(SimpleTestCase):
    def test_there_are_at_least_eighty_kinds(self):
        assert len(updates()) >= 80

    def test_each_field_removed_in_turn_loses_no_text_and_raises_nothing(self):
        lost = []
        for name, update in updates().items():
            for path in paths(update):
                if path == ("update_id",):
                    continue
                try:
                    parsed = parse(at(update, path), BOT)
                except NotForUs:
                    is_expected = path in ESSENTIAL or next(reversed(update)) in NOT_WANTED
                    lost += [] if is_expected else [(name, path)]
                    continue
                is_text = "text with" in name and path not in ESSENTIAL | {("message", "text")}
                if is_text and text_of(parsed) != "A question":
                    lost.append((name, path))

        assert not lost

    def test_a_field_of_another_type_loses_no_text(self):
        lost = []
        for name, parts in BESIDE_TEXT.items():
            update = {"update_id": 1, "message": message(text="A question", **parts)}
            for path in paths(update):
                if path == ("update_id",) or path in ESSENTIAL | {("message", "text")}:
                    continue
                odd = CHANCE.choice(ODD)
                try:
                    is_lost = text_of(parse(at(update, path, odd), BOT)) != "A question"
                except Unreadable:
                    is_lost = path != ("message", "message_id")
                lost += [(name, path, odd)] if is_lost else []

        assert not lost

    def test_a_forwarded_text_never_becomes_a_members_own(self):
        own = []
        for name, parts in BESIDE_TEXT.items():
            if "forward_origin" not in parts:
                continue
            update = {"update_id": 1, "message": message(text="A question", **parts)}
            for path in paths(parts["forward_origin"], "message", "forward_origin"):
                for odd in ((), *((one,) for one in ODD)):
                    parsed = parse(at(update, path, *odd), BOT).message
                    if parsed is None or parsed.forward_origin is None:
                        own.append((name, path, odd))

        assert not own

    def test_a_reply_to_a_message_that_cannot_be_read_still_leads_to_it(self):
        parts = BESIDE_TEXT["reply to old poll"]
        parsed = parse({"update_id": 1, "message": message(text="Why?", **parts)}, BOT)

        assert isinstance(parsed.message, Message)
        assert parsed.message.reply_to_message is not None
        assert parsed.message.reply_to_message.message_id == 5

    def test_what_was_not_asked_for_is_not_even_parsed(self):
        for kind, content in NOT_WANTED.items():
            with self.subTest(kind), pytest.raises(NotForUs):
                parse({"update_id": 1, kind: content}, BOT)

    def test_an_id_that_is_none_is_named(self):
        for update in (
            {"message": message(message_id="x")},
            {"message": message(chat={"id": 2**70, "type": "private"})},
            {"message": {"message_id": "x", "chat": 5, "from": []}},
        ):
            with self.subTest(update=update), pytest.raises(Unreadable, match="the id of the"):
                parse({"update_id": 1, **update}, BOT)

    def test_content_that_cannot_be_read_is_still_known_as_content(self):
        parsed = parse({"update_id": 1, "message": message(**CONTENT["old poll"])}, BOT)

        assert parsed.message is not None
        assert parsed.message.api_kwargs["parts_cut_out"] == ["poll"]
