"""The ASGI entry point: Django, with the sandbox mounted beside it when SANDBOX is on."""

from __future__ import annotations

import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "observatory.settings")
django_application = get_asgi_application()

from django.conf import settings  # noqa: E402 - the settings exist only from here on

from agents.llm.router import sandbox_vendors  # noqa: E402
from observatory.sandbox.app import create_app  # noqa: E402

SANDBOX_ROOT = "/sandbox"
# The latency lets a person see the stages of a run; tests run the sandbox on its own, without it.
sandbox = (
    create_app(journal=settings.DATA_DIR / "chats.jsonl", latency_s=1.0, vendors=sandbox_vendors())
    if settings.SANDBOX
    else None
)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Route a request to the sandbox or to Django by its path."""
    path = scope.get("path", "")
    if sandbox is not None and (path == SANDBOX_ROOT or path.startswith(f"{SANDBOX_ROOT}/")):
        await sandbox({**scope, "root_path": SANDBOX_ROOT}, receive, send)
    elif scope["type"] == "lifespan":
        await _lifespan(receive, send)
    else:
        await django_application(scope, receive, send)


async def _lifespan(receive: Any, send: Any) -> None:
    """Complete the server's startup and shutdown events, which Django's application rejects."""
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return
