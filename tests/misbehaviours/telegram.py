"""What a bot sent and was handed, and what shall go wrong for it: the tests' side of Telegram.

Routes of its own, which the real server has not: `/telegram/sent`, `/telegram/toasts`,
`/telegram/acknowledged`, `/telegram/updates`, `/telegram/faults`, `/telegram/limits`,
`/telegram/disorder` and `/chat/groups`.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from observatory.sandbox.calls import BotCall
from observatory.sandbox.extension import Parts
from observatory.sandbox.people import Person
from observatory.sandbox.updates import MESSAGE_LIFETIME_S
from observatory.sandbox.web import (
    Json,
    Refused,
    json_object,
    json_response,
)
from tests.misbehaviours.limits import RateLimit
from tests.misbehaviours.sent import SentLog

UPGRADED = "Bad Request: group chat was upgraded to a supergroup chat"
UPDATE_KIND = re.compile(r"[a-z_]+")


@dataclass(slots=True)
class Fault:
    """An error that the next `count` matching calls get."""

    method: str | None
    chat_id: int | None
    error_code: int
    description: str
    parameters: Json
    count: int

    def fits(self, method: str, chat_id: int | None) -> bool:
        """Tell whether this call is meant."""
        return self.count > 0 and self.method in (None, method) and self.chat_id in (None, chat_id)


class TelegramControls:
    """Sees every call of the Bot API, and answers the tests' routes."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._sent = SentLog()
        self._limit = RateLimit(clock=time.time)
        self._delivered: list[int] = []
        self._toasts: list[str] = []  # the answers to presses
        self._moved_to: dict[int, int] = {}  # supergroups by the groups that they were before
        self._is_disordered = False  # each batch of updates comes twice and backwards
        self._parts: Parts

    def routes(self, parts: Parts) -> list[BaseRoute]:
        """Return what only tests ask."""
        self._parts = parts
        return [
            Route("/telegram/sent", self.sent),
            Route("/telegram/toasts", self.toasts),
            Route("/telegram/acknowledged", self.acknowledged),
            Route("/telegram/updates", self.inject, methods=["POST"]),
            Route("/telegram/faults", self.add_fault, methods=["POST"]),
            Route("/telegram/faults", self.clear_faults, methods=["DELETE"]),
            Route("/telegram/limits", self.counts),
            Route("/telegram/limits", self.set_limits, methods=["POST"]),
            Route("/telegram/disorder", self.set_disorder, methods=["POST"]),
            Route("/chat/groups", self.add_group, methods=["POST"]),
            Route("/chat/{group_id}/upgrade", self.upgrade_group, methods=["POST"]),
        ]

    def before_call(self, call: BotCall) -> None:
        """Raise the scripted fault for this call, or that its group moved, or the rate limit."""
        for fault in self._faults:
            if fault.fits(call.method, call.chat_id()):
                fault.count -= 1
                raise Refused(fault.error_code, fault.description, **fault.parameters)
        if moved_to := self._moved_to.get(call.chat_id() or 0):
            raise Refused(400, UPGRADED, parameters={"migrate_to_chat_id": moved_to})
        self._limit.before_call(call)
        if call.method == "answerCallbackQuery":  # also if the query is none of this server's
            self._toasts.append(call.text("text"))

    def after_call(self, call: BotCall, result: Any) -> Any:
        """Note what was sent or handed out."""
        if call.method == "getUpdates":
            batch = [*reversed(result), *result] if self._is_disordered else result
            self._delivered += [update["update_id"] for update in batch]
            return batch
        if call.method == "deleteMessage":
            self._sent.note_deleted(call.chat_id() or 0, call.get("message_id", int))
        elif isinstance(result, dict) and "message_id" in result:
            self._sent.note(call.method, result)
        return result

    async def sent(self, request: Request) -> Response:
        """List what bots sent, edited and deleted, optionally `?after=` a number."""
        after = int(request.query_params.get("after", "0"))
        return json_response({"sent": self._sent.after(after)})

    async def toasts(self, request: Request) -> Response:
        """List what presses were answered, in their order."""
        return json_response({"toasts": self._toasts})

    async def acknowledged(self, request: Request) -> Response:
        """List the update ids that were handed out, each time, and those acknowledged."""
        mailboxes = self._parts.chats.updates.mailboxes.values()
        below = max((mailbox.acknowledged_below for mailbox in mailboxes), default=0)
        return json_response({"delivered": self._delivered, "acknowledged": list(range(1, below))})

    async def inject(self, request: Request) -> Response:
        """Queue any update: `{"<kind>": {…}}`, also one that no library can parse."""
        update = await json_object(request)
        kinds = [kind for kind in update if UPDATE_KIND.fullmatch(kind) and kind != "update_id"]
        if len(kinds) != 1:
            raise Refused(400, "an update needs exactly one kind besides update_id")
        updates = self._parts.chats.updates
        queued = updates.add(kinds[0], update[kinds[0]], lifetime_s=MESSAGE_LIFETIME_S)
        return json_response({"update_id": queued.update_id})

    async def add_fault(self, request: Request) -> Response:
        """Script an error: `{"method", "chat_id", "error_code", "description", …, "count"}`."""
        script = await json_object(request)
        code, retry_after = script["error_code"], script.get("retry_after")
        usual = f"Too Many Requests: retry after {retry_after}" if code == 429 else "scripted fault"
        parameters = {} if retry_after is None else {"parameters": {"retry_after": retry_after}}
        self._faults.append(
            Fault(
                method=script.get("method"),
                chat_id=script.get("chat_id"),
                error_code=code,
                description=script.get("description", usual),
                parameters=parameters,
                count=script.get("count", 1),
            )
        )
        return json_response({"ok": True})

    async def clear_faults(self, request: Request) -> Response:
        """Drop all scripted errors."""
        self._faults.clear()
        return json_response({"ok": True})

    async def counts(self, request: Request) -> Response:
        """Tell how many sends and edits there were, and how many at most within one second."""
        limit = self._limit
        counted = {"calls": limit.calls, "most_in_a_second": limit.most_in_a_second}
        return json_response({"on": limit.is_on} | counted)

    async def set_limits(self, request: Request) -> Response:
        """Switch the rate limit on or off: `{"on": false}`."""
        self._limit.is_on = (await json_object(request))["on"]
        return json_response({"on": self._limit.is_on})

    async def set_disorder(self, request: Request) -> Response:
        """Deliver updates twice and out of order, or as the real server does: `{"on": true}`."""
        self._is_disordered = (await json_object(request))["on"]
        return json_response({"on": self._is_disordered})

    async def add_group(self, request: Request) -> Response:
        """Add a group, which the chat page does not show: `{"title"}`."""
        group = self._add_group((await json_object(request))["title"])
        return json_response(group.as_chat(), status=201)

    async def upgrade_group(self, request: Request) -> Response:
        """Make a supergroup of a group, under a new id; the old id is refused from then on."""
        chat = self._parts.chats.find(int(request.path_params["group_id"]))
        assert chat is not None
        group = self._add_group(chat.person.first_name)
        self._moved_to[chat.id] = group.id
        return json_response(group.as_chat(), status=201)

    def _add_group(self, title: str) -> Person:
        state = self._parts.chats.state
        group = Person(id=min(0, *state.chats) - 1, first_name=title, is_group=True)
        state.change(group.as_record())
        return group
