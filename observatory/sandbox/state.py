"""The state of the sandbox's Telegram, built by applying records.

Every change is one record: applied at once, written to the journal, and applied again after a
restart. The same code applies it both times, so memory and journal cannot drift apart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from observatory.sandbox.files import Files
from observatory.sandbox.journal import Journal
from observatory.sandbox.people import Person, first_people
from observatory.sandbox.updates import Updates
from observatory.sandbox.web import Clock, Json

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Chat:
    """One private chat or group, with its messages by id."""

    person: Person
    messages: dict[int, Json] = field(default_factory=dict)
    last_message_id: int = 0

    @property
    def id(self) -> int:
        """The chat's id, which is its person's or group's."""
        return self.person.id


class State:
    """All chats, files, updates and commands of the sandbox."""

    def __init__(self, *, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self.files = Files(journal=journal)
        self.updates = Updates(journal=journal, clock=clock)
        self.chats = {person.id: Chat(person) for person in first_people()}
        self.commands: list[Json] = []
        self._last_private_id = 0
        self._appliers: dict[str, Callable[..., None]] = {
            "person": self._apply_person,
            "message": self._apply_message,
            "deleted": self._apply_deletion,
            "commands": self._apply_commands,
            "file": self.files.restore,
            "update": self.updates.restore,
            "acknowledged": self.updates.restore_acknowledgement,
        }
        for record in journal.read():
            try:
                self._apply(**record)
            except (KeyError, TypeError, ValueError):
                logger.warning("the sandbox's journal has a line it does not understand")

    def next_message_id(self, chat: Chat) -> int:
        """Return the id for a new message: private chats share a counter, groups have their own."""
        return (chat.last_message_id if chat.id < 0 else self._last_private_id) + 1

    def change(self, record: Json) -> None:
        """Apply a record and write it to the journal."""
        self._apply(**record)
        self._journal.write(record)

    def _apply(self, *, kind: str, **fields: Any) -> None:
        self._appliers[kind](**fields)

    def _apply_person(self, **fields: Any) -> None:
        person = Person(**fields)
        self.chats.setdefault(person.id, Chat(person)).person = person

    def _apply_message(self, *, message: Json) -> None:
        chat, message_id = self.chats[message["chat"]["id"]], message["message_id"]
        chat.messages[message_id] = message
        chat.last_message_id = max(chat.last_message_id, message_id)
        if chat.id > 0:
            self._last_private_id = max(self._last_private_id, message_id)

    def _apply_deletion(self, *, chat_id: int, message_id: int) -> None:
        self.chats[chat_id].messages.pop(message_id, None)

    def _apply_commands(self, *, commands: list[Json]) -> None:
        self.commands = commands
