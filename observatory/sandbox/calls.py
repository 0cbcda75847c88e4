"""Parses Bot API calls and their parameters, sent as query, form, multipart or JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.datastructures import UploadFile
from starlette.requests import Request

from observatory.sandbox.web import Json, Refused, json_object, parse_json

Value = TypeVar("Value", int, bool, Json, list[Any])


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
        if isinstance(value, dict | list):
            raise Refused(400, f"Bad Request: {name} must be a String")
        return "" if value is None else str(value)

    def get(self, name: str, kind: type[Value]) -> Value:
        """Return any other parameter, parsed if it is text as in forms; empty or 0 if absent."""
        value = self.values.get(name)
        try:
            value = parse_json(value) if isinstance(value, str) and value.strip() else value
        except Refused as error:
            raise Refused(400, f"Bad Request: can't parse {name}: {error.text}") from error
        if value not in (None, "") and not isinstance(value, kind):
            raise Refused(400, f"Bad Request: {name} has the wrong type")
        return value or kind()

    def chat_id(self) -> int | None:
        """Return the chat's id, None if absent; channel names are refused as not found."""
        value = self.text("chat_id").strip()
        if value and not value.lstrip("-").isdecimal():
            raise Refused(400, "Bad Request: chat not found")
        return int(value) if value else None


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
