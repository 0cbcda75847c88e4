"""The people and groups of the sandbox, as Telegram's users and chats."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from observatory.sandbox.web import Json, Refused

MAX_NAME = 64


@dataclass(slots=True, kw_only=True)
class Person:
    """A person who can write to the bot, or a group; the note is for the user who plays them."""

    id: int
    first_name: str
    last_name: str
    username: str
    note: str
    is_blocking: bool = False
    is_group: bool = False  # a group, titled with `first_name`; its id is negative
    moved_to: int = 0  # the supergroup that a group was upgraded to

    def as_user(self) -> Json:
        """Return Telegram's User."""
        return {"id": self.id, "is_bot": False} | self._names() | {"language_code": "en"}

    def as_chat(self) -> Json:
        """Return Telegram's Chat: a private chat or a group."""
        if self.is_group:
            return {"id": self.id, "type": "supergroup", "title": self.first_name}
        return {"id": self.id, "type": "private"} | self._names()

    def as_record(self) -> Json:
        """Return the person's journal record."""
        return {"kind": "person"} | asdict(self)

    def _names(self) -> Json:
        names = {
            "first_name": self.first_name,
            "last_name": self.last_name,
            "username": self.username,
        }
        return {name: value for name, value in names.items() if value}


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
        Person(id=1003, first_name="Noor", last_name="", username="noor", note="not approved yet"),
    ]


def person_from(fields: Json, person_id: int) -> Person:
    """Return a new person with the fields that the page sent.

    Raises:
        Refused: a name is missing, too long or not a text.
    """
    names: dict[str, str] = {}
    for name in ("first_name", "last_name", "username", "note"):
        value = fields.get(name) or ""
        if not isinstance(value, str) or len(value) > MAX_NAME:
            raise Refused(400, f"{name} must be a text of at most {MAX_NAME} characters")
        names[name] = value.strip()
    if not names["first_name"]:
        raise Refused(400, "first_name is missing")
    return Person(
        id=person_id,
        first_name=names["first_name"],
        last_name=names["last_name"],
        username=names["username"].removeprefix("@"),
        note=names["note"],
    )
