"""Calls of the Bot API and their parameters, however they came: query, form, multipart or JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from observatory.sandbox.forms import Upload, parse_form
from observatory.sandbox.web import Json, Refused, Request, parse_json


@dataclass(frozen=True, slots=True)
class BotCall:
    """Who calls, with named values (texts in forms, anything in JSON) and uploaded files."""

    bot: Json
    values: Json
    files: dict[str, Upload]

    def text(self, name: str) -> str:
        """Return a text, empty if absent."""
        value = self.values.get(name)
        if value is None:
            return ""
        if isinstance(value, dict | list):
            raise Refused(400, f"Bad Request: {name} must be a String")
        return str(value)

    def integer(self, name: str) -> int | None:
        """Return a whole number, or None if absent."""
        value = self.text(name).strip()
        if not value:
            return None
        try:
            return int(value)
        except ValueError as error:
            raise Refused(400, f"Bad Request: {name} must be an Integer") from error

    def chat_id(self) -> int | None:
        """Return the chat that is meant; names of channels mean nobody here."""
        value = self.text("chat_id").strip()
        if value and not value.lstrip("-").isdecimal():
            raise Refused(400, "Bad Request: chat not found")
        return int(value) if value else None

    def flag(self, name: str) -> bool:
        """Return a yes or no, no if absent."""
        return self.text(name).strip().lower() in ("true", "1", "yes")

    def structure(self, name: str) -> Any:
        """Return a nested value, which forms carry as JSON text; None if absent."""
        value = self.values.get(name)
        if not isinstance(value, str):
            return value
        if not value.strip():
            return None
        try:
            return parse_json(value)
        except Refused as error:
            raise Refused(400, f"Bad Request: can't parse {name}: {error.text}") from error

    def object(self, name: str) -> Json:
        """Return a nested object, empty if absent."""
        value = self.structure(name)
        if not isinstance(value, dict | None):
            raise Refused(400, f"Bad Request: {name} must be an Object")
        return value or {}

    def list(self, name: str) -> list[Any]:
        """Return a nested list, empty if absent."""
        value = self.structure(name)
        if not isinstance(value, list | None):
            raise Refused(400, f"Bad Request: {name} must be an Array")
        return value or []


def read_call(bot: Json, request: Request) -> BotCall:
    """Return the call that `bot` makes; parameters in the body win over those in the query."""
    if request.method == "GET" or not request.body:
        return BotCall(bot, dict(request.query), {})
    if request.headers.get("content-type", "").startswith("application/json"):
        return BotCall(bot, request.query | request.json_object(), {})
    form = parse_form(request)
    return BotCall(bot, request.query | form.fields, form.files)
