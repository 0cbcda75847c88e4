"""The people and groups of the sandbox, as Telegram's users and chats."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from observatory.sandbox.web import Json

NAMES = ("first_name", "last_name", "username")
Name = Annotated[str, StringConstraints(strip_whitespace=True, max_length=64)]


class Profile(BaseModel):
    """What the page says of a person; the note is for the user who plays them."""

    first_name: Annotated[Name, Field(min_length=1)]
    last_name: Name = ""
    username: Annotated[Name, AfterValidator(lambda name: name.removeprefix("@"))] = ""
    note: Name = ""

    def names(self) -> Json:
        """Return the names that are not empty."""
        return {name: value for name, value in self if value and name in NAMES}


class Person(Profile):
    """A person who can write to the bot, or a group."""

    id: int
    is_blocking: bool = False
    is_group: bool = False  # a group, titled with `first_name`; its id is negative

    def as_user(self) -> Json:
        """Return Telegram's User."""
        return {"id": self.id, "is_bot": False} | self.names() | {"language_code": "en"}

    def as_chat(self) -> Json:
        """Return Telegram's Chat: a private chat or a group."""
        if self.is_group:
            return {"id": self.id, "type": "supergroup", "title": self.first_name}
        return {"id": self.id, "type": "private"} | self.names()

    def for_page(self) -> Json:
        """Return the person for the chat page."""
        return {"id": self.id} | self.names() | {"note": self.note, "blocked": self.is_blocking}

    def as_record(self) -> Json:
        """Return the person's journal record."""
        return {"kind": "person"} | self.model_dump()


def first_people() -> list[Person]:
    """Return the people who exist from the start."""
    return [
        Person(
            id=1001,
            first_name="Maya",
            last_name="Okafor",
            username="maya",
            note="own OpenRouter key",
        ),
        Person(id=1002, first_name="Tom", last_name="Brandt", username="tom", note="team's key"),
        Person(id=1003, first_name="Noor", username="noor", note="not approved yet"),
    ]
