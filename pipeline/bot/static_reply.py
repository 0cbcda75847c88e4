"""Static replies with their buttons, and the target (topic and message) of a reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from telegram import InlineKeyboardButton, InlineKeyboardMarkup, ReplyParameters

from pipeline.models.inbox import Buttons as Buttons
from pipeline.models.inbox import ReplyKind

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
    """The topic to send a reply to and, in a group, the id of the message that it answers."""

    topic: int | None = None
    message_id: int | None = None

    @property
    def options(self) -> list[dict[str, Any]]:
        """Return the keyword arguments of a send call, in the order in which to try them.

        With a topic there are fallbacks, because it may be closed or deleted by now: first the
        reply without the topic, then neither.
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
    """Return the buttons as nested lists, the form in which the database stores them."""
    return [[list(button) for button in row] for row in buttons]


def keyboard(rows: Sequence[Sequence[Sequence[str]]]) -> InlineKeyboardMarkup | None:
    """Return the rows of buttons as an inline keyboard; None if there are no rows."""
    if not rows:
        return None
    return InlineKeyboardMarkup(
        [[InlineKeyboardButton(label, callback_data=press) for label, press in row] for row in rows]
    )
