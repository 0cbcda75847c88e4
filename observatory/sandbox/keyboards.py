"""Validates inline keyboards like Telegram."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from observatory.sandbox.web import Json, Refused, validated

MAX_BUTTONS = 100


class CallbackButton(BaseModel):
    """A button that sends its data to the bot, at most 64 bytes."""

    text: str
    callback_data: Annotated[bytes, Field(min_length=1, max_length=64)]


class UrlButton(BaseModel):
    """A button that opens an address."""

    text: str
    url: Annotated[str, Field(pattern=r"^(https?|tg)://.")]


class Keyboard(BaseModel):
    """Rows of buttons."""

    inline_keyboard: list[list[CallbackButton | UrlButton]]


def checked_keyboard(markup: Json) -> Json | None:
    """Return the inline keyboard without empty rows, or None if it is absent or empty.

    Raises:
        Refused: a row or button is malformed, or there are too many buttons.
    """
    if markup.get("inline_keyboard") is None:
        return None
    validated(Keyboard, markup, refusal="Bad Request: can't parse reply_markup: ")
    rows = [row for row in markup["inline_keyboard"] if row]
    if sum(len(row) for row in rows) > MAX_BUTTONS:
        raise Refused(400, "Bad Request: reply markup is too long")
    return {"inline_keyboard": rows} if rows else None
