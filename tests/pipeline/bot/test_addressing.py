"""The bot answers all that is addressed to it: a table of kind, chat and way of addressing."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.bot import texts
from pipeline.models import Task
from tests.pipeline.bot.chatting import MAYA, BotCase, Chat
from tests.pipeline.bot.kinds import CONTENT, SERVICE, Json
from tests.pipeline.bot.test_groups import NAME, add_group
from tests.pipeline.bot.test_hostile import nothing_is_left
from tests.pipeline.bot.test_reading import uploaded
from tests.pipeline.cases import until

WORDS = "what does she mean?"
BOT: Json = {"id": 7_000_000_001, "is_bot": True, "first_name": "O", "username": NAME[1:]}
OTHER_BOT: Json = {"id": 9, "is_bot": True, "first_name": "B", "username": "other_bot"}
ANONYMOUS: Json = {"id": 1_087_968_824, "is_bot": True, "first_name": "Group"}

ANSWER, LINE, SILENCE = "an answer", "one line", "silence"
# What a person gets in return, by way of addressing: for words, for other content.
IN_PRIVATE = {
    "plainly": (ANSWER, LINE),
    "by a mention": (ANSWER, LINE),
    "by a command": (ANSWER, LINE),
    "by a command with the bot's name": (ANSWER, LINE),
    "by an unknown command": (LINE, LINE),
    "by a reply to the bot": (ANSWER, LINE),
}
IN_A_GROUP = {
    "plainly": (SILENCE, SILENCE),
    "by a mention": (ANSWER, LINE),
    "by a command": (ANSWER, LINE),
    "by a command with the bot's name": (ANSWER, LINE),
    "by a command to another bot": (SILENCE, SILENCE),
    "by an unknown command": (LINE, LINE),
    "by a reply to the bot": (ANSWER, LINE),
    "by a reply to another bot": (SILENCE, SILENCE),
    "by a mention, as an anonymous admin": (LINE, LINE),
    "by a mention, as a channel": (LINE, LINE),
}
CAPTIONED = ("photo", "image file", "PDF", "voice", "audio", "video", "animation")
PLAIN = ("sticker", "location", "venue", "contact", "poll", "old poll", "dice", "video note")
WORDLESS = " without words"
WITHOUT_WORDS = ("plainly", "by a reply to the bot", "by a reply to another bot")
CHATS = ("private", "group", "topic")


def worded(words: str, kind: str, entity: str = "", length: int = 0) -> Json:
    """Return words with an entity at their beginning, as a text or a caption."""
    text, entities = ("text", "entities") if kind == "text" else ("caption", "caption_entities")
    marked = [{"type": entity, "offset": 0, "length": length}] if entity else []
    return {text: words, entities: marked}


def said(way: str, kind: str) -> Json:
    """Return the words of a message that addresses the bot in this way."""
    command = {
        "by a command": "/support",
        "by a command with the bot's name": f"/support{NAME}",
        "by a command to another bot": "/support@other_bot",
        "by an unknown command": f"/wat{NAME}",
    }.get(way)
    if command:
        return worded(f"{command} {WORDS}", kind, "bot_command", len(command))
    if "mention" in way:
        return worded(f"{NAME} {WORDS}", kind, "mention", len(NAME))
    return worded(WORDS, kind)


def around(way: str, chat: Json, person: int) -> Json:
    """Return who writes, and what they reply to."""
    writer: Json = {"id": person, "is_bot": False, "first_name": "Pat"}
    parts: Json = {"from": writer}
    if "anonymous" in way:
        parts = {"from": ANONYMOUS, "sender_chat": chat}
    elif "channel" in way:
        channel = {"id": -100_5, "type": "channel", "title": "C"}
        parts = {"from": ANONYMOUS, "sender_chat": channel}
    if "reply" in way:
        author = BOT if "to the bot" in way else OTHER_BOT
        replied_to = {"message_id": 1, "date": 1, "chat": chat, "from": author, "text": "x"}
        parts["reply_to_message"] = replied_to
    return parts


def cells() -> list[tuple[str, str, str, str]]:
    """Return kind, chat, way of addressing, and what comes in return."""
    table = []
    for chat in CHATS:
        for way, (words, other) in (IN_PRIVATE if chat == "private" else IN_A_GROUP).items():
            for kind in ("text", *CAPTIONED):
                reads = kind in ("text", "photo", "image file")
                # A picture needs no command to say what is wanted of it.
                is_unknown = way == "by an unknown command" and kind != "text"
                expected = words if reads else other
                table.append((kind, chat, way, ANSWER if reads and is_unknown else expected))
            if way in WITHOUT_WORDS:
                table += [(kind, chat, way, other) for kind in PLAIN]
                table += [(f"{kind}{WORDLESS}", chat, way, other) for kind in ("PDF", "voice")]
                table.append((f"photo{WORDLESS}", chat, way, words))
                table += [(kind, chat, way, SILENCE) for kind in SERVICE]
    return table


@pytest.mark.chaos
class AddressingTests(BotCase):
    async def test_every_cell_of_the_table_is_as_it_says(self):
        table = cells()
        assert len(table) >= 150
        async with self.bot() as chat:
            await chat.post("/telegram/limits", on=False)
            picture = await uploaded(chat)
            places = [await self._put(chat, picture, cell) for cell in table]
            await until(nothing_is_left, within_s=300)
            seen = [await chat.replies(place) for place in places]

        wrong = [
            (*cell, replies)
            for cell, replies in zip(table, seen, strict=True)
            if self._returned(replies) != cell[3]
        ]
        assert not wrong
        assert await Task.objects.acount() >= len(table)

    def _returned(self, replies: list[str]) -> str:
        if not replies:
            return SILENCE
        lines = (texts.NOT_UNDERSTOOD, texts.UNKNOWN_COMMAND, texts.ANONYMOUS)
        assert len(replies) == 1, replies
        return LINE if replies[0] in lines else ANSWER

    async def _put(self, chat: Chat, picture: Json, cell: tuple[str, str, str, str]) -> int:
        """Have a message of the cell delivered in a chat of its own, and return that chat's id."""
        kind, place, way, _ = cell
        person = int((await chat.post("/chat/people", first_name="Pat")).json()["id"])
        where: dict[str, Any] = {"id": person, "type": "private", "first_name": "Pat"}
        parts: Json = {}
        if place != "private":
            where = dict((await chat.post("/chat/groups", title="Sales")).json())
            if place == "topic":
                where["is_forum"] = True
                parts = {"message_thread_id": 7, "is_topic_message": True}
        if kind == "text" or kind in CAPTIONED:
            parts |= said(way, kind)
        kind = kind.removesuffix(WORDLESS)
        if kind != "text":
            parts |= (CONTENT | SERVICE)[kind]
        if kind == "photo":
            parts["photo"] = [picture]
        elif kind == "image file":
            parts["document"] = picture | {"mime_type": "image/png", "file_name": "a.png"}
        await chat.inject(person, **{"chat": where, **parts, **around(way, where, person)})
        return int(where["id"])


class AlbumTests(BotCase):
    """Only one message of an album has the caption; in a group only that one is for the bot."""

    async def test_an_album_in_a_group_has_one_answer_wherever_its_caption_is(self):
        async with self.bot() as chat:
            picture = await uploaded(chat)
            for of, said_in_return in (
                ({"photo": [picture]}, "Draft to send"),
                (CONTENT["PDF"], texts.NOT_UNDERSTOOD),
            ):
                for captioned in range(3):
                    with self.subTest(said_in_return, captioned=captioned):
                        group = await add_group(chat)
                        for number in range(3):
                            words = said("by a mention", "photo") if number == captioned else {}
                            album = {"media_group_id": f"album {group['id']}"}
                            await chat.inject(MAYA, chat=group, **album, **of, **words)
                        await chat.sees_text(group["id"], said_in_return)
                        await until(nothing_is_left)

                        assert len(await chat.replies(group["id"])) == 1
