"""The tests' handles on the stand-in for Telegram: what was sent and seen, and what shall go wrong.

The real server has none of these: `/telegram/sent`, `/telegram/acknowledged`, `/telegram/updates`,
`/telegram/faults`, `/telegram/limits` and `/telegram/disorder`.
"""

from __future__ import annotations

import re

from observatory.sandbox.chats import Chats
from observatory.sandbox.limits import Faults, RateLimit
from observatory.sandbox.updates import MESSAGE_LIFETIME_S
from observatory.sandbox.web import (
    Handler,
    Refused,
    Request,
    Response,
    Route,
    json_response,
    plain_error,
)

UPDATE_KIND = re.compile(r"[a-z_]+")


class Handles:
    """The routes for tests beside the Bot API's."""

    def __init__(self, *, chats: Chats, limit: RateLimit, faults: Faults) -> None:
        self._chats = chats
        self._limit = limit
        self._faults = faults

    def routes(self) -> list[Route]:
        """Return what only the sandbox answers."""
        return [
            _route("GET", "sent", self.sent),
            _route("GET", "acknowledged", self.acknowledged),
            _route("POST", "updates", self.inject),
            _route("POST", "faults", self.add_fault),
            _route("DELETE", "faults", self.clear_faults),
            _route("GET", "limits", self.counts),
            _route("POST", "limits", self.set_limits),
            _route("POST", "disorder", self.set_disorder),
        ]

    async def sent(self, request: Request) -> Response:
        """List what bots sent, edited and deleted, optionally `?after=` a number."""
        after = request.query.get("after", "0")
        return json_response(
            {"sent": self._chats.sent.after(int(after) if after.isdecimal() else 0)}
        )

    async def acknowledged(self, request: Request) -> Response:
        """List the update ids that were handed out, each time, and those acknowledged."""
        updates = self._chats.updates
        return json_response(
            {"delivered": list(updates.delivered), "acknowledged": list(updates.acknowledged)}
        )

    async def inject(self, request: Request) -> Response:
        """Queue any update: `{"<kind>": {…}}`, also one that no library can parse."""
        update = request.json_object()
        kinds = [kind for kind in update if UPDATE_KIND.fullmatch(kind) and kind != "update_id"]
        if len(kinds) != 1:
            raise Refused(400, "an update needs exactly one kind besides update_id")
        queued = self._chats.updates.add(kinds[0], update[kinds[0]], lifetime_s=MESSAGE_LIFETIME_S)
        return json_response({"update_id": queued.update_id})

    async def add_fault(self, request: Request) -> Response:
        """Script an error for coming calls."""
        self._faults.add(request.json_object())
        return json_response({"ok": True})

    async def clear_faults(self, request: Request) -> Response:
        """Drop all scripted errors."""
        self._faults.clear()
        return json_response({"ok": True})

    async def counts(self, request: Request) -> Response:
        """Tell how many sends and edits there were, and how many at most within one second."""
        counted = {"calls": self._limit.calls, "most_in_a_second": self._limit.most_in_a_second}
        return json_response({"on": self._limit.is_on} | counted)

    async def set_limits(self, request: Request) -> Response:
        """Switch the rate limit on or off: `{"on": false}`."""
        self._limit.is_on = _switch(request)
        return json_response({"on": self._limit.is_on})

    async def set_disorder(self, request: Request) -> Response:
        """Deliver updates twice and out of order, or as the real server does: `{"on": true}`."""
        self._chats.updates.is_disordered = _switch(request)
        return json_response({"on": self._chats.updates.is_disordered})


def _switch(request: Request) -> bool:
    is_on = request.json_object().get("on")
    if not isinstance(is_on, bool):
        raise Refused(400, '"on" must be true or false')
    return is_on


def _route(method: str, path: str, handler: Handler) -> Route:
    return Route(
        methods=(method,),
        pattern=re.compile(f"/telegram/{path}"),
        handler=handler,
        render_error=plain_error,
        own_origin_only=method != "GET",
    )
