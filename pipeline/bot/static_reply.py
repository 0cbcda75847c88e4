"""Fixed reply texts with their buttons, and the chat topic and message that a reply goes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from telegram import InlineKeyboardButton, InlineKeyboardMarkup, ReplyParameters

from pipeline.models.inbox import ReplyKind

# Rows of buttons: a label, and what comes back when it is pressed.
Buttons: TypeAlias = Sequence[Sequence[tuple[str, str]]]
Also: TypeAlias = Callable[[], object] | None


@dataclass(frozen=True, slots=True)
class StaticReply:
    """A reply that needs no run: text, buttons, picture."""

    text: str
    buttons: Buttons = ()
    also: Also = None  # called once, in the transaction that stores the reply
    picture: str = ""  # a PNG in base64, whose caption is the text
    kind: ReplyKind = ReplyKind.LINE


@dataclass(frozen=True, slots=True)
class ReplyTarget:
    """The topic that a reply goes to, and in a group the message that it is a reply to."""

    topic: int | None = None
    message_id: int | None = None

    @property
    def options(self) -> list[dict[str, Any]]:
        """Return the options of a sending call, the preferred ones first.

        The others are for a topic that has been closed or deleted since: a reply without the topic,
        then neither.
        """
        reply = None
        if self.message_id is not None:
            reply = ReplyParameters(self.message_id, allow_sending_without_reply=True)
        ways = [(self.topic, reply), (None, reply), (None, None)]
        return [
            {"message_thread_id": topic, "reply_parameters": parameters}
            for topic, parameters in dict.fromkeys(ways if self.topic is not None else ways[1:2])
        ]


def as_lists(buttons: Buttons) -> list[list[list[str]]]:
    """Return the buttons as the database stores them."""
    return [[list(button) for button in row] for row in buttons]


def keyboard(rows: Sequence[Sequence[Sequence[str]]]) -> InlineKeyboardMarkup | None:
    """Return the buttons as Telegram takes them."""
    if not rows:
        return None
    return InlineKeyboardMarkup(
        [[InlineKeyboardButton(label, callback_data=press) for label, press in row] for row in rows]
    )
