"""Validates inline keyboards like Telegram."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from observatory.sandbox.web import Json, Refused

MAX_CALLBACK_BYTES = 64
MAX_BUTTONS = 100


def checked_keyboard(markup: Json) -> Json | None:
    """Return the inline keyboard without empty rows, or None if it is absent or empty.

    Raises:
        Refused: a row or button is malformed, or there are too many buttons.
    """
    rows = markup.get("inline_keyboard")
    if rows is None:
        return None
    checked = [[_button(button) for button in row] for row in _rows(rows) if row]
    if sum(len(row) for row in checked) > MAX_BUTTONS:
        raise Refused(400, "Bad Request: reply markup is too long")
    return {"inline_keyboard": checked} if checked else None


def _rows(rows: Any) -> list[list[Any]]:
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise Refused(400, 'Bad Request: field "inline_keyboard" must be an Array of Arrays')
    return rows


def _button(button: Any) -> Json:
    if not isinstance(button, dict) or not isinstance(button.get("text"), str):
        raise Refused(400, "Bad Request: can't parse inline keyboard button: text is missing")
    if "callback_data" in button:
        data = button["callback_data"]
        if not isinstance(data, str) or not 1 <= len(data.encode()) <= MAX_CALLBACK_BYTES:
            raise Refused(400, "Bad Request: BUTTON_DATA_INVALID")
    elif "url" in button:
        _check_url(button["url"])
    else:
        raise Refused(
            400,
            "Bad Request: can't parse inline keyboard button:"
            " Text buttons are unallowed in the inline keyboard",
        )
    return button


def _check_url(url: Any) -> None:
    try:
        parts = urlsplit(url)
    except (TypeError, ValueError, AttributeError):
        parts = urlsplit("")
    if parts.scheme not in ("http", "https", "tg") or not (parts.netloc or parts.path):
        raise Refused(400, f"Bad Request: inline keyboard button URL {url!r} is invalid")
