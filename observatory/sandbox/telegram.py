"""The stand-in for Telegram's Bot API: tokens, updates, and all methods except those on messages.

It answers like the real server, errors included. The methods on messages are in `bot_messages.py`.
"""

from __future__ import annotations

import re
from inspect import isawaitable
from typing import Annotated

from pydantic import BaseModel, Field, RootModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from observatory.sandbox.bot_messages import BotMessages, BotMethod
from observatory.sandbox.calls import BotCall, read_call
from observatory.sandbox.chats import Chats
from observatory.sandbox.extension import Extension
from observatory.sandbox.updates import CONFLICT_WEBHOOK_SET
from observatory.sandbox.web import (
    Json,
    Refused,
    application,
    json_response,
    validated,
    while_connected,
)

TOKEN = re.compile(r"(\d{1,16}):[A-Za-z0-9_-]{30,}")
MAX_DOWNLOAD_BYTES = 20 * 1024 * 1024


class Command(BaseModel):
    """A command that the bot offers."""

    command: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,32}$")]
    description: Annotated[str, Field(min_length=1, max_length=256)]


class Commands(RootModel[Annotated[list[Command], Field(max_length=100)]]):
    """All commands that the bot offers."""


class BotApi:
    """The routes below `/telegram`."""

    def __init__(self, *, chats: Chats, extension: Extension) -> None:
        self._chats = chats
        self._extension = extension
        methods: dict[str, BotMethod] = {
            "getUpdates": self._get_updates,
            "getMe": self._get_me,
            "setWebhook": self._set_webhook,
            "deleteWebhook": self._delete_webhook,
            "getWebhookInfo": self._get_webhook_info,
            "setMyCommands": self._set_my_commands,
            "getFile": self._get_file,
            "answerCallbackQuery": self._answer_callback_query,
        }
        every = methods | BotMessages(chats).methods()
        self._methods = {name.lower(): (name, method) for name, method in every.items()}

    def app(self) -> Starlette:
        """Return the app with these routes."""
        routes = [
            Route("/bot{token}/{method}", self.call, methods=["GET", "POST"]),
            Route("/file/bot{token}/{path:path}", self.download),
        ]
        return application(routes, _error)

    async def call(self, request: Request) -> Response:
        """Answer one method call."""
        bot = _bot(request.path_params["token"])
        self._chats.see_bot(bot)
        wanted = request.path_params["method"].lower()
        name, answer = self._methods.get(wanted, ("", None))
        if answer is None:
            raise Refused(404, "Not Found: method not found")
        call = await read_call(bot, name, request)
        return await while_connected(request, self._answered(call, answer))

    async def download(self, request: Request) -> Response:
        """Return a file's bytes."""
        _bot(request.path_params["token"])
        file = self._chats.files.at(request.path_params["path"])
        if file is None:
            raise Refused(404, "Not Found: file not found")
        return Response(file.data, media_type="application/octet-stream")

    async def _answered(self, call: BotCall, answer: BotMethod) -> Response:
        self._extension.before_call(call)
        result = answer(call)
        if isawaitable(result):
            result = await result
        return json_response({"ok": True, "result": self._extension.after_call(call, result)})

    async def _get_updates(self, call: BotCall) -> list[Json]:
        bot_id = call.bot["id"]
        if call.values.get("allowed_updates") not in (None, ""):
            allowed = frozenset(str(kind) for kind in call.get("allowed_updates", list))
            self._chats.updates.mailbox(bot_id).allowed = allowed
        return await self._chats.updates.poll(
            bot_id,
            offset=call.get("offset", int),
            limit=min(max(call.get("limit", int) or 100, 1), 100),
            timeout_s=max(call.get("timeout", int), 0),
        )

    def _get_me(self, call: BotCall) -> Json:
        return call.bot | {
            "can_join_groups": True,
            "can_read_all_group_messages": False,
            "supports_inline_queries": False,
            "can_connect_to_business": False,
            "has_main_web_app": False,
        }

    def _set_webhook(self, call: BotCall) -> bool:
        url = call.text("url")
        if not url:
            return self._delete_webhook(call)
        if not url.startswith("https://"):
            raise Refused(
                400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook"
            )
        updates = self._chats.updates
        updates.interrupt(call.bot["id"], CONFLICT_WEBHOOK_SET)
        updates.mailbox(call.bot["id"]).webhook = {
            "url": url,
            "max_connections": call.get("max_connections", int) or 40,
        }
        self._drop_pending(call)
        return True

    def _delete_webhook(self, call: BotCall) -> bool:
        self._chats.updates.mailbox(call.bot["id"]).webhook = {}
        self._drop_pending(call)
        return True

    def _get_webhook_info(self, call: BotCall) -> Json:
        updates = self._chats.updates
        pending = sum(1 for _ in updates.pending(call.bot["id"]))
        webhook = updates.mailbox(call.bot["id"]).webhook or {"url": ""}
        return webhook | {"has_custom_certificate": False, "pending_update_count": pending}

    def _drop_pending(self, call: BotCall) -> None:
        if call.get("drop_pending_updates", bool):
            updates = self._chats.updates
            updates.acknowledge(call.bot["id"], updates.last_id + 1)

    def _set_my_commands(self, call: BotCall) -> bool:
        refusal = "Bad Request: can't parse commands: "
        commands = validated(Commands, call.get("commands", list), refusal=refusal)
        self._chats.set_commands(commands.model_dump())
        return True

    def _get_file(self, call: BotCall) -> Json:
        file = self._chats.files.get(call.text("file_id"))
        if file is None:
            raise Refused(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
        if len(file.data) > MAX_DOWNLOAD_BYTES:
            raise Refused(400, "Bad Request: file is too big")
        return file.as_file() | {"file_path": file.path}

    def _answer_callback_query(self, call: BotCall) -> bool:
        toast = {"text": call.text("text"), "show_alert": call.get("show_alert", bool)}
        self._chats.answer_query(call.text("callback_query_id"), toast)
        return True


def _error(error: Refused) -> Response:
    body = {"ok": False, "error_code": error.status, "description": error.text}
    return json_response(body | error.details, status=error.status)


def _bot(token: str) -> Json:
    match = TOKEN.fullmatch(token)
    if match is None:
        raise Refused(401, "Unauthorized")
    return {
        "id": int(match[1]),
        "is_bot": True,
        "first_name": "Observatory",
        "username": "observatory_sandbox_bot",
    }
