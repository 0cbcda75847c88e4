"""The stand-in for Telegram's Bot API: tokens, updates, and the methods that are not messages.

Answers as the real server does, errors included. Methods around messages: `bot_messages.py`.
"""

from __future__ import annotations

import re
from typing import Any

from observatory.sandbox.bot_messages import BotMessages, BotMethod
from observatory.sandbox.calls import BotCall, read_call
from observatory.sandbox.chats import Chats
from observatory.sandbox.limits import BotError, Faults, RateLimit
from observatory.sandbox.updates import CONFLICT_WEBHOOK_SET
from observatory.sandbox.web import (
    Handler,
    Json,
    Refused,
    Request,
    Response,
    Route,
    json_response,
)

TOKEN = re.compile(r"(\d{1,16}):[A-Za-z0-9_-]{30,}")
COMMAND = re.compile(r"[a-z0-9_]{1,32}")
MAX_COMMANDS = 100
MAX_DOWNLOAD_BYTES = 20 * 1024 * 1024
LIMITED = frozenset(
    {
        *("sendMessage", "sendPhoto", "sendDocument"),
        *("editMessageText", "editMessageCaption"),
    }
)


class BotApi:
    """The routes below `/telegram`."""

    def __init__(self, *, chats: Chats, limit: RateLimit, faults: Faults) -> None:
        self._chats = chats
        self._limit = limit
        self._faults = faults
        methods: dict[str, BotMethod] = {
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

    def routes(self) -> list[Route]:
        """Return what the Bot API answers."""
        return [
            _bot_route("bot([^/]*)/([^/]*)", self.call),
            _bot_route("file/bot([^/]*)/(.+)", self.download),
        ]

    async def call(self, request: Request, token: str, method: str) -> Response:
        """Answer one method call."""
        try:
            result = await self._result(request, token, method.lower())
        except BotError as error:
            return _error(error.status, error.text, parameters=error.parameters)
        return json_response({"ok": True, "result": result})

    async def download(self, request: Request, token: str, path: str) -> Response:
        """Return a file's bytes."""
        _bot(token)
        file = self._chats.files.at(path)
        if file is None:
            raise Refused(404, "Not Found: file not found")
        return Response(status=200, body=file.data, content_type="application/octet-stream")

    async def _result(self, request: Request, token: str, method: str) -> Any:
        bot = _bot(token)
        self._chats.see_bot(bot)
        call = read_call(bot, request)
        if method == "getupdates":
            self._faults.check("getUpdates", None)
            return await self._get_updates(call)
        name, answer = self._methods.get(method, ("", None))
        if answer is None:
            raise Refused(404, "Not Found: method not found")
        chat_id = call.chat_id()
        self._faults.check(name, chat_id)
        if name in LIMITED and chat_id is not None:
            self._limit.check(chat_id)
        return answer(call)

    async def _get_updates(self, call: BotCall) -> list[Json]:
        bot_id = call.bot["id"]
        if call.values.get("allowed_updates") not in (None, ""):
            allowed = frozenset(str(kind) for kind in call.list("allowed_updates"))
            self._chats.updates.mailbox(bot_id).allowed = allowed
        limit = call.integer("limit")
        return await self._chats.updates.poll(
            bot_id,
            offset=call.integer("offset") or 0,
            limit=min(max(limit if limit is not None else 100, 1), 100),
            timeout_s=max(call.integer("timeout") or 0, 0),
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
            "max_connections": call.integer("max_connections") or 40,
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
        if call.flag("drop_pending_updates"):
            updates = self._chats.updates
            updates.acknowledge(call.bot["id"], updates.last_id + 1)

    def _set_my_commands(self, call: BotCall) -> bool:
        commands = call.list("commands")
        if len(commands) > MAX_COMMANDS:
            raise Refused(400, "Bad Request: BOT_COMMANDS_TOO_MUCH")
        self._chats.set_commands([_command(command) for command in commands])
        return True

    def _get_file(self, call: BotCall) -> Json:
        file = self._chats.files.get(call.text("file_id"))
        if file is None:
            raise Refused(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
        if len(file.data) > MAX_DOWNLOAD_BYTES:
            raise Refused(400, "Bad Request: file is too big")
        return {
            "file_id": file.file_id,
            "file_unique_id": file.unique_id,
            "file_size": len(file.data),
            "file_path": file.path,
        }

    def _answer_callback_query(self, call: BotCall) -> bool:
        toast = {"text": call.text("text"), "show_alert": call.flag("show_alert")}
        self._chats.answer_query(call.text("callback_query_id"), toast)
        return True


def _bot_route(path: str, handler: Handler) -> Route:
    return Route(
        methods=("GET", "POST"),
        pattern=re.compile(f"/telegram/{path}"),
        handler=handler,
        render_error=_error,
        own_origin_only=False,
    )


def _error(status: int, text: str, *, parameters: Json | None = None) -> Response:
    body: Json = {"ok": False, "error_code": status, "description": text}
    if parameters:
        body["parameters"] = parameters
    return json_response(body, status=status)


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


def _command(command: Any) -> Json:
    name = command.get("command") if isinstance(command, dict) else None
    description = command.get("description") if isinstance(command, dict) else None
    if not isinstance(name, str) or not COMMAND.fullmatch(name.lstrip("/")):
        raise Refused(400, "Bad Request: BOT_COMMAND_INVALID")
    if not isinstance(description, str) or not 1 <= len(description) <= 256:
        raise Refused(400, "Bad Request: BOT_COMMAND_DESCRIPTION_INVALID")
    return {"command": name.lstrip("/"), "description": description}
