"""What the bot says without a run: a line with its buttons, and where in a chat it goes."""

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
class Line:
    """What the bot says without a run, and what goes with it."""

    text: str
    buttons: Buttons = ()
    also: Also = None  # done once, in the transaction that decides on the line
    picture: str = ""  # a PNG in base64, whose caption is the text
    kind: ReplyKind = ReplyKind.LINE


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a chat a reply goes: its topic, and in a group the message that it is a reply to."""

    topic: int | None = None
    message_id: int | None = None

    @property
    def options(self) -> list[dict[str, Any]]:
        """Return the options of a call that sends, the wanted ones first.

        The others are for a topic that has been closed or deleted since: as a reply without the
        topic, then without either.
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
    """Return the buttons as a row of the database keeps them."""
    return [[list(button) for button in row] for row in buttons]


def keyboard(rows: Sequence[Sequence[Sequence[str]]]) -> InlineKeyboardMarkup | None:
    """Return the buttons as Telegram takes them."""
    if not rows:
        return None
    return InlineKeyboardMarkup(
        [[InlineKeyboardButton(label, callback_data=press) for label, press in row] for row in rows]
    )
