"""Any update of Telegram, now or later: nothing is lost, nothing crashes, nobody else hears of it.

OBSERVATORY_SEED=n the same updates again; OBSERVATORY_PROVE=1 ten times as many.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from telegram import Update

from pipeline.bot import polling
from pipeline.models import PipelineRun, Task, TelegramUpdate
from pipeline.models.inbox import TaskStatus
from tests.chaos.test_kills import SEED
from tests.pipeline.bot.chatting import BotCase, Chat
from tests.pipeline.bot.kinds import updates
from tests.pipeline.bot.test_hostile import nothing_is_left
from tests.pipeline.bot.test_parsing import ESSENTIAL, at, paths
from tests.pipeline.cases import until
from tests.proving import amount, closing_line

UPDATES = amount(1_000, quickly=300, proving=10_000)
TEXTS_WITHOUT_A_FIELD = amount(100, proving=10**9)
AT_ONCE = 100
PEOPLE = 60
KINDS = [*Update.ALL_TYPES, "subscription", "stopped_message_generation", "kind_to_come"]
TEXTS = [
    *(
        "/start",
        "/help@observatory_sandbox_bot",
        "/cancel",
        "/memory",
        "/forget",
        "/model x",
        "/why",
    ),
    *(
        "",
        " ",
        "🦊" * 50,
        "a\x00b",
        "\u202eesrever",
        "x" * 5000,
        "@observatory_sandbox_bot hi",
        "/",
    ),
]
ODD: list[Any] = [
    *(None, True, -1, 0, 2**31, 2**63, -(2**70), 1.5, "", "text", [], {}, [None], {"id": "x"}),
    *([{"type": "bot_command", "offset": 0, "length": 99}], [[[[]]]], {"chat": {"id": {}}}),
]

Json = dict[str, Any]


class Maker:
    """Makes updates: well-formed ones of every kind, and what a mistake would make of them."""

    def __init__(self, seed: int, people: list[int]) -> None:
        self._chance = random.Random(seed)
        self._people = people

    def update(self) -> tuple[str, Any]:
        """Return a kind and its content."""
        kind = self._chance.choice(KINDS)
        content = self._content(kind)
        for _ in range(self._chance.choice([0, 0, 1, 1, 2, 5])):
            content = self._spoilt(content)
        return kind, content

    def _content(self, kind: str) -> Json:
        makers: dict[str, Callable[[], Json]] = {
            "callback_query": self._press,
            "poll": lambda: {"id": "1", "question": "?", "options": [], "total_voter_count": 0},
            "inline_query": lambda: {"id": "1", "from": self._person(), "query": "", "offset": ""},
        }
        return makers.get(kind, self._message)()

    def _person(self) -> Json:
        person = self._chance.choice(self._people)
        return {"id": person, "is_bot": self._chance.random() < 0.05, "first_name": "Somebody"}

    def _message(self) -> Json:
        person = self._person()
        private = {"id": person["id"], "type": "private"}
        # Many, for a group is told no more than twenty things a minute.
        number = -self._chance.randrange(100, 100 + PEOPLE)
        group = {"id": number, "type": "supergroup", "title": "G", "is_forum": True}
        text = self._chance.choice(TEXTS)
        length = len(text.split(" ")[0])
        message = {
            "message_id": self._chance.randrange(1, 2**31),
            "date": 1_700_000_000,
            "chat": self._chance.choice([private, private, group]),
            "from": person,
            "text": text,
            "entities": [{"type": "bot_command", "offset": 0, "length": length}] if text else [],
        }
        for name, value in self._extras().items():
            if self._chance.random() < 0.12:
                message[name] = value
        return message

    def _extras(self) -> Json:
        size = {"file_id": "f", "file_unique_id": "u", "width": 9, "height": 9}
        origin = {"type": "hidden_user", "sender_user_name": "P", "date": 1}
        return {
            "photo": [size],
            "caption": "what does she mean?",
            "sticker": size | {"type": "regular", "is_animated": False, "is_video": False},
            "voice": {"file_id": "f", "file_unique_id": "u", "duration": 3},
            "location": {"latitude": 0.5, "longitude": 0.5},
            "forward_origin": origin,
            "message_thread_id": 7,
            "is_topic_message": True,
            "media_group_id": "8",
            "sender_chat": {"id": -77, "type": "supergroup", "title": "G"},
            "reply_to_message": {"message_id": 1, "date": 1, "chat": {"id": 1, "type": "private"}},
            "new_chat_members": [self._person()],
            "pinned_message": {"message_id": 1, "date": 0, "chat": {"id": 1, "type": "private"}},
            "field_to_come": {"deep": [1, {"er": None}]},
        }

    def _press(self) -> Json:
        data = ["run:again:" + "0" * 32, "mine:memory", "again:1", "payer:team", "x" * 64, "run:"]
        return {
            "id": str(self._chance.randrange(10**9)),
            "from": self._person(),
            "chat_instance": "1",
            "message": self._message(),
            "data": self._chance.choice(data),
        }

    def _spoilt(self, value: Any) -> Any:
        """Return the value with one part of it left out, replaced or added, at any depth."""
        if not isinstance(value, dict) or not value:
            return self._chance.choice(ODD)
        name = self._chance.choice(list(value))
        act = self._chance.random()
        if act < 0.3:
            return {key: part for key, part in value.items() if key != name}
        if act < 0.5 and isinstance(value[name], dict):
            return value | {name: self._spoilt(value[name])}
        return value | {name: self._chance.choice(ODD)}


@pytest.mark.chaos
class AnyUpdateTests(BotCase):
    async def test_every_update_has_its_end_and_is_answered_in_its_own_chat_only(self):
        # Telegram would not be asked for most of them; whatever comes must do no harm.
        self.enterContext(patch.object(polling, "ALLOWED_UPDATES", KINDS))
        # Alerts of thousands of dead letters would keep one of the people waiting for an hour.
        async with self.bot(OPERATOR_CHAT_ID="") as chat:
            group = dict((await chat.post("/chat/groups", title="G")).json())["id"]
            # Many, for each is told no more than one thing a second.
            people = [await self._newcomer(chat) for _ in range(PEOPLE)]
            maker = Maker(SEED, people)
            for number in range(1, UPDATES + 1):
                kind, content = maker.update()
                answer = await chat.post("/telegram/updates", **{kind: content})
                assert answer.is_success, (SEED, number, answer.text)
                if number % AT_ONCE == 0:
                    await until(self._all_stored(number), within_s=120)
            await until(nothing_is_left, within_s=120)
            chats = {row["chat_id"] for row in await chat.all_sent()}

        ended = [status async for status in Task.objects.values_list("status", flat=True)]
        dead = [task async for task in Task.objects.filter(status=TaskStatus.DEAD_LETTER)]
        unread = [task.error for task in dead if "cannot be read" not in task.error]
        assert not unread, (SEED, unread[:3])
        assert chats <= {*people, group}, SEED
        closing_line(f"\n{UPDATES} updates, {len(ended)} tasks, {len(dead)} unreadable, {SEED=}\n")

    async def test_a_text_of_which_any_field_is_missing_is_no_dead_letter(self):
        cases = [
            (update, path)
            for name, update in updates().items()
            if "text with" in name
            for path in paths(update)
            if path not in ESSENTIAL | {("update_id",)}
        ]
        chosen = random.Random(16).sample(cases, min(len(cases), TEXTS_WITHOUT_A_FIELD))
        async with self.bot(OPERATOR_CHAT_ID="") as chat:
            for update, path in chosen:
                person = await self._newcomer(chat)
                own: Any = json.loads(json.dumps(update["message"]).replace("1001", str(person)))
                cut = at({"message": own}, path)
                answer = await chat.post("/telegram/updates", **cut)
                assert answer.is_success, (path, answer.text)
            await until(self._all_stored(len(chosen)), within_s=120)
            await until(nothing_is_left, within_s=600)

        dead = [task async for task in Task.objects.filter(status=TaskStatus.DEAD_LETTER)]
        assert not dead, (dead[0].error, len(dead))
        answered = await PipelineRun.objects.acount()
        assert answered > len(chosen) / 2  # of the others the chat is a group, or the text is gone
        closing_line(f"\n{len(chosen)} texts without a field, dead=0, {answered} runs\n")

    async def _newcomer(self, chat: Chat) -> int:
        return int((await chat.post("/chat/people", first_name="Somebody")).json()["id"])

    def _all_stored(self, count: int) -> Any:
        async def are_stored() -> bool:
            return await TelegramUpdate.objects.acount() == count

        return are_stored
