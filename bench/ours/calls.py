"""One call: by httpx as it comes, by httpx on our transport, and by our provider; no records."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

import httpx
from django.conf import settings
from httpx_aiohttp import AiohttpTransport

from agents.llm.router import create_provider
from agents.llm.schemas import strict
from bench.peers.laps import serve_calls
from bench.peers.work import (
    KEY,
    MESSAGE,
    MESSAGES,
    MODEL,
    RESPONSE_FORMAT,
    SYSTEM,
    Plan,
)
from bench.standin import PLAN

SCHEMA = strict(Plan.model_json_schema())
Ask = Callable[[], Awaitable[object]]


def main() -> None:
    """Take part as what the command line says."""
    ask = {"httpx": _by_httpx, "transport": _by_transport, "provider": _by_provider}[sys.argv[2]]()
    serve_calls(ask, "httpx", "httpx-aiohttp")


def _by_httpx() -> Ask:
    return _by_hand(httpx.AsyncClient(trust_env=False))


def _by_transport() -> Ask:
    return _by_hand(httpx.AsyncClient(transport=AiohttpTransport(trust_env=False), trust_env=False))


def _by_hand(client: httpx.AsyncClient) -> Ask:
    url = f"{settings.OPENROUTER_BASE_URL}/chat/completions"
    body = {"model": MODEL, "messages": MESSAGES, "response_format": RESPONSE_FORMAT}

    async def ask() -> None:
        reply = await client.post(url, json=body, headers={"Authorization": f"Bearer {KEY}"})
        assert reply.json()["choices"]

    return ask


def _by_provider() -> Ask:
    provider = create_provider("openrouter", KEY, MODEL)

    async def ask() -> None:
        completion = await provider.complete(SYSTEM, MESSAGE, schema=SCHEMA)
        assert completion.json()["strategy"] == PLAN["strategy"]

    return ask
