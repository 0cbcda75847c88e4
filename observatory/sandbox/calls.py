"""Parses Bot API calls and their parameters, sent as query, form, multipart or JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request

from observatory.sandbox.web import Json, Refused, json_object, parse_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file uploaded in a form."""

    filename: str
    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BotCall:
    """A bot's method call: parameters (texts from forms, any value from JSON) and uploads."""

    bot: Json
    method: str
    values: Json
    files: dict[str, Upload]

    def text(self, name: str) -> str:
        """Return a parameter as text, "" if absent."""
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
        """Return the chat's id, None if absent; channel names are refused as not found."""
        value = self.text("chat_id").strip()
        if value and not value.lstrip("-").isdecimal():
            raise Refused(400, "Bad Request: chat not found")
        return int(value) if value else None

    def flag(self, name: str) -> bool:
        """Return a boolean, False if absent."""
        return self.text(name).strip().lower() in ("true", "1", "yes")

    def object(self, name: str) -> Json:
        """Return a nested object, empty if absent."""
        value = self._structure(name)
        if not isinstance(value, dict | None):
            raise Refused(400, f"Bad Request: {name} must be an Object")
        return value or {}

    def list(self, name: str) -> list[Any]:
        """Return a nested list, empty if absent."""
        value = self._structure(name)
        if not isinstance(value, list | None):
            raise Refused(400, f"Bad Request: {name} must be an Array")
        return value or []

    def _structure(self, name: str) -> Any:
        """Return a nested value, parsed if it is JSON text as in forms; None if absent."""
        value = self.values.get(name)
        if not isinstance(value, str):
            return value
        if not value.strip():
            return None
        try:
            return parse_json(value)
        except Refused as error:
            raise Refused(400, f"Bad Request: can't parse {name}: {error.text}") from error


async def read_call(bot: Json, method: str, request: Request) -> BotCall:
    """Parse a call by `bot`; parameters in the body win over those in the query."""
    values: Json = dict(request.query_params)
    files: dict[str, Upload] = {}
    if request.headers.get("content-type", "").startswith("application/json"):
        values |= await json_object(request)
    else:
        fields, files = await read_form(request)
        values |= fields
    return BotCall(bot=bot, method=method, values=values, files=files)


async def read_form(request: Request) -> tuple[dict[str, str], dict[str, Upload]]:
    """Return the fields and the files of a form; the last one of equal names counts."""
    fields: dict[str, str] = {}
    files: dict[str, Upload] = {}
    async with request.form() as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files[name] = Upload(
                    filename=value.filename or "",
                    content_type=value.content_type or "application/octet-stream",
                    data=await value.read(),
                )
            else:
                fields[name] = value
    return fields, files
