"""The sandbox as one ASGI app, assembled from its parts.

Mount it under any prefix (`scope["root_path"]` is stripped) or run it on its own: `__main__.py`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from observatory.sandbox.anthropic import Anthropic
from observatory.sandbox.chat import ChatApi
from observatory.sandbox.chats import Chats
from observatory.sandbox.edge import Edge
from observatory.sandbox.extension import Extension, Parts
from observatory.sandbox.feed import Feed
from observatory.sandbox.journal import Journal
from observatory.sandbox.ledger import Ledger
from observatory.sandbox.openai import Compatible, OpenAi
from observatory.sandbox.openrouter import OpenRouter
from observatory.sandbox.telegram import BotApi
from observatory.sandbox.vendor import Vendor
from observatory.sandbox.web import application, plain_error

MAX_BODY_BYTES = 60 * 1024 * 1024  # above Telegram's largest upload, 50 MB


def create_app(
    *,
    journal: Path | None = None,
    latency_s: float = 0.0,
    vendors: Mapping[str, str] | None = None,
    extension: Extension | None = None,
) -> Starlette:
    """Return the sandbox, restored from `journal`, with `latency_s` before each model answer.

    `vendors` are further vendors with a chat completions API: the pattern of their keys, by name.
    """
    extension = extension or Extension()
    feed = Feed()
    chats = Chats(journal=Journal(journal), feed=feed, clock=time.time)
    ledger = Ledger(feed=feed, clock=time.time)
    shared: dict[str, Any] = {"ledger": ledger, "latency_s": latency_s, "extension": extension}
    models: list[Vendor] = [
        OpenRouter(**shared),
        Anthropic(**shared),
        OpenAi(**shared),
        *(Compatible(**shared, name=name, keys=keys) for name, keys in (vendors or {}).items()),
    ]
    return application(
        [
            *extension.routes(Parts(chats=chats, ledger=ledger)),
            Mount("/telegram", BotApi(chats=chats, extension=extension).app()),
            *(Mount(vendor.root, vendor.app()) for vendor in models),
            Mount("/", ChatApi(chats=chats, ledger=ledger, feed=feed).app()),
        ],
        plain_error,
        middleware=[Middleware(Edge)],
        max_body_size=MAX_BODY_BYTES,
    )
