"""The sandbox with the misbehaving models, for tests to run."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

from observatory.sandbox.app import Asgi, Message, Receive, Send, create_app
from tests.misbehaviours import misbehaving_model
from tests.misbehaviours.openrouter import LATE_GENERATION


class MisbehavingSandbox:
    """An ASGI app: the sandbox, whose `/generation` is late for one of the models."""

    def __init__(self, **options: Any) -> None:
        self._app: Asgi = create_app(added_models=misbehaving_model, **options)
        self._asked_for: set[str] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/api/v1/generation"):
            (generation_id,) = parse_qs(scope["query_string"].decode()).get("id", [""])
            send = self._late(generation_id, send)
        await self._app(scope, receive, send)

    def _late(self, generation_id: str, send: Send) -> Send:
        """Return what sends a 404 instead at the first ask for a late generation."""
        start: Message = {}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body = json.loads(message["body"])
            model = body.get("data", {}).get("model")
            if model == LATE_GENERATION and generation_id not in self._asked_for:
                self._asked_for.add(generation_id)
                text = f"Generation {generation_id} not found"
                raw = json.dumps({"error": {"code": 404, "message": text}}).encode()
                headers = [(b"content-type", b"application/json")]
                await send({"type": "http.response.start", "status": 404, "headers": headers})
                await send({"type": "http.response.body", "body": raw})
                return
            await send(start)
            await send(message)

        return sending
