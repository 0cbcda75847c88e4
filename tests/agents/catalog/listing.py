"""OpenRouter list entries as tests need them, rows of the table, and an OpenRouter to sync with."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from django.test import TestCase, override_settings

from agents.catalog.entries import Listing
from agents.catalog.store import SyncReport, store
from agents.llm.http import close_clients
from agents.models import CatalogModel
from tests.llm.loopback import Canned, Loopback, Reply, loopback
from tests.sandbox.serving import running_sandbox

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
Json = dict[str, Any]


def entry(model_id: str = "openai/gpt-4.1", **changes: Any) -> Json:
    """Return an entry as `/models` has it; a change set to `...` leaves the member out."""
    whole: Json = {
        "id": model_id,
        "canonical_slug": model_id,
        "name": model_id.partition("/")[2],
        "created": 1_744_651_385,
        "context_length": 128_000,
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
        "pricing": {"prompt": "0.000002", "completion": "0.000008", "request": "0"},
        "top_provider": {"max_completion_tokens": 32_768},
        "supported_parameters": ["temperature", "response_format", "structured_outputs"],
        "expiration_date": None,
    }
    return {name: value for name, value in (whole | changes).items() if value is not ...}


def payload(*entries: Any, **members: Any) -> Json:
    return {"data": list(entries), "total_count": len(entries), "links": {"next": None}} | members


def take_in(*entries: Any, now: datetime = NOW, **options: Any) -> SyncReport:
    """Store a list as a sync would."""
    return store(Listing.from_payload(payload(*entries)), {}, now=now, **options)


def row(model_id: str, **changes: Any) -> CatalogModel:
    """Store one model and return its row."""
    take_in(*(entry(one) for one in known() if one != model_id), entry(model_id, **changes))
    return CatalogModel.objects.get(pk=model_id)


def known() -> list[str]:
    return list(CatalogModel.objects.values_list("pk", flat=True))


def offered() -> list[str]:
    return list(CatalogModel.objects.filter(vanished_at=None).values_list("pk", flat=True))


@asynccontextmanager
async def openrouter(*replies: Reply | Json) -> AsyncIterator[Loopback]:
    """Yield an OpenRouter that gives these replies, the last one again and again."""
    given = [reply if not isinstance(reply, dict) else Canned(body=reply) for reply in replies]
    async with loopback(*given) as server:
        with override_settings(OPENROUTER_BASE_URL=server.base_url):
            try:
                yield server
            finally:
                await close_clients()


class SandboxCatalogCase(TestCase):
    """A test whose OpenRouter is the sandbox."""

    sandbox_url: str

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.sandbox_url = cls.enterClassContext(running_sandbox())
        cls.enterClassContext(
            override_settings(OPENROUTER_BASE_URL=f"{cls.sandbox_url}/openrouter/api/v1")
        )

    def withdraw(self, model_id: str) -> None:
        """Have the sandbox offer a model no longer, until the test ends."""
        self.addCleanup(self.bring_back)
        self._send("POST", {"id": model_id})

    def bring_back(self) -> None:
        self._send("DELETE", None)

    def _send(self, method: str, body: Json | None) -> None:
        request = urllib.request.Request(
            f"{self.sandbox_url}/openrouter/withdrawn",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
        )
        urllib.request.urlopen(request).close()
