"""Actions of people and bots in chats, on top of `state.py`.

The page acts for people, the Bot API for bots. Actions change the state by records and publish
events to open pages. Messages are the Bot API's dictionaries throughout.
"""

from __future__ import annotations

from observatory.sandbox.entities import bot_commands
from observatory.sandbox.feed import Feed
from observatory.sandbox.files import StoredFile
from observatory.sandbox.journal import Journal
from observatory.sandbox.people import Person, Profile
from observatory.sandbox.pictures import picture_size
from observatory.sandbox.state import Chat, State
from observatory.sandbox.updates import CALLBACK_LIFETIME_S, MESSAGE_LIFETIME_S
from observatory.sandbox.web import Clock, Json, Refused, validated

TWO_DAYS_S = 48 * 3600  # after that, a bot can no longer delete a message
MAX_PHOTO_BYTES = 10 * 1024 * 1024


class Chats:
    """All chats of the sandbox, with the actions of people and bots in them."""

    def __init__(self, *, journal: Journal, feed: Feed, clock: Clock) -> None:
        self.state = State(journal=journal, clock=clock)
        self.files, self.updates = self.state.files, self.state.updates
        self._feed = feed
        self._clock = clock
        self.bot: Json | None = None

    def people(self) -> list[Person]:
        """Return all people, without groups, sorted by id."""
        everybody = [chat.person for _, chat in sorted(self.state.chats.items())]
        return [person for person in everybody if not person.is_group]

    def find(self, chat_id: int) -> Chat | None:
        """Return the chat with this id, or None."""
        return self.state.chats.get(chat_id)

    def add_person(self, fields: Json) -> Person:
        """Add a person and return them."""
        profile = validated(Profile, fields)
        person = Person(id=max(self.state.chats) + 1, **profile.model_dump())
        self.state.change(person.as_record())
        self._feed.publish("people", {}, person_id=None)
        return person

    def set_blocking(self, chat: Chat, *, is_blocking: bool) -> None:
        """Let a person block or unblock the bot."""
        if chat.person.is_blocking == is_blocking:
            return
        self.state.change(chat.person.as_record() | {"is_blocking": is_blocking})
        self._feed.publish("people", {}, person_id=None)
        if self.bot is not None:
            membership = _membership(chat.person, self.bot, int(self._clock()))
            self.updates.add("my_chat_member", membership, lifetime_s=MESSAGE_LIFETIME_S)

    def see_bot(self, bot: Json) -> None:
        """Record that a bot is connected, so that the page can show it."""
        if self.bot != bot:
            self.bot = bot
            self._feed.publish("bot", bot, person_id=None)

    def say(self, chat: Chat, content: Json, *, reply_to: int | None) -> Json:
        """Let a person send `content` to the bot and return the message."""
        message = self._new(chat, chat.person.as_user(), content, reply_to)
        self.state.change({"kind": "message", "message": message})
        self._feed.publish("message", message, person_id=chat.id)
        self.updates.add("message", message, lifetime_s=MESSAGE_LIFETIME_S)
        return message

    def press(self, chat: Chat, message_id: int, data: str) -> Json:
        """Let a person press an inline button and return the callback query.

        Raises:
            Refused: the message, or the button on it, is gone.
        """
        message = chat.messages.get(message_id, {})
        rows = message.get("reply_markup", {}).get("inline_keyboard", [])
        if data not in [button.get("callback_data") for row in rows for button in row]:
            raise Refused(400, "this message has no such button any more")
        query = {
            "id": f"{chat.id}{self.updates.last_id + 1:09d}",
            "from": chat.person.as_user(),
            "message": message,
            "chat_instance": str(chat.id),
            "data": data,
        }
        self.updates.add("callback_query", query, lifetime_s=CALLBACK_LIFETIME_S)
        return query

    def post(self, chat: Chat, bot: Json, content: Json, *, reply_to: int | None) -> Json:
        """Let `bot` send `content` and return the message."""
        message = self._new(chat, bot, content, reply_to)
        self.state.change({"kind": "message", "message": message})
        self._feed.publish("message", message, person_id=chat.id)
        return message

    def edit(self, chat: Chat, message: Json, changes: Json) -> Json:
        """Replace parts of a message, remove those set to None, and return the message."""
        merged = message | changes
        if set(changes) != {"reply_markup"}:
            merged["edit_date"] = int(self._clock())
        edited = {name: value for name, value in merged.items() if value is not None}
        self.state.change({"kind": "message", "message": edited})
        self._feed.publish("edited", edited, person_id=chat.id)
        return edited

    def delete(self, chat: Chat, message_id: int) -> None:
        """Delete a message, sent by the bot or by the person.

        Raises:
            Refused: the message does not exist, or is older than 48 hours.
        """
        message = chat.messages.get(message_id)
        if message is None:
            raise Refused(400, "Bad Request: message to delete not found")
        if message["date"] < self._clock() - TWO_DAYS_S:
            raise Refused(400, "Bad Request: message can't be deleted for everyone")
        self.state.change({"kind": "deleted", "chat_id": chat.id, "message_id": message_id})
        self._feed.publish("deleted", {"message_id": message_id}, person_id=chat.id)

    def answer_query(self, query_id: str, toast: Json) -> None:
        """Answer a callback query by showing `toast` to the person who pressed the button.

        Raises:
            Refused: the query does not exist, or is too old.
        """
        person_id = self.updates.asker(query_id)
        if person_id is None:
            raise Refused(
                400,
                "Bad Request: query is too old and response timeout expired or query ID is invalid",
            )
        self._feed.publish("toast", toast, person_id=person_id)

    def set_commands(self, commands: list[Json]) -> None:
        """Replace the commands; an empty list removes them."""
        self.state.change({"kind": "commands", "commands": commands})
        self._feed.publish("commands", {}, person_id=None)

    def _new(self, chat: Chat, sender: Json, content: Json, reply_to: int | None) -> Json:
        message: Json = {
            "message_id": self.state.next_message_id(chat),
            "from": sender,
            "chat": chat.person.as_chat(),
            "date": int(self._clock()),
        }
        if reply_to is not None:
            original = chat.messages.get(reply_to)
            if original is None:
                raise Refused(400, "Bad Request: message to be replied not found")
            message["reply_to_message"] = {
                name: value for name, value in original.items() if name != "reply_to_message"
            }
        return message | content


def text_content(
    text: str, entities: list[Json] | None = None, *, is_caption: bool = False
) -> Json:
    """Return a text as message content; without entities, its commands are marked."""
    marked = bot_commands(text) if entities is None else entities
    prefix = "caption_" if is_caption else ""
    content = {"caption" if is_caption else "text": text, f"{prefix}entities": marked}
    return {name: value for name, value in content.items() if value}


def photo_content(file: StoredFile) -> Json:
    """Return the message content of a picture, in Telegram's format.

    Raises:
        Refused: the file is not a picture that Telegram would accept.
    """
    size = picture_size(file.data)
    if size is None or min(size) < 1:
        raise Refused(400, "Bad Request: IMAGE_PROCESS_FAILED")
    return {"photo": [file.as_file() | {"width": size[0], "height": size[1]}]}


def _membership(person: Person, bot: Json, date: int) -> Json:
    member: Json = {"user": bot, "status": "member"}
    kicked: Json = {"user": bot, "status": "kicked", "until_date": 0}
    old, new = (member, kicked) if person.is_blocking else (kicked, member)
    return {
        "chat": person.as_chat(),
        "from": person.as_user(),
        "date": date,
        "old_chat_member": old,
        "new_chat_member": new,
    }
