"""Adapter for OpenRouter: builds requests and looks up costs.

`agents.llm.openrouter_replies` interprets the replies. Retries, records and the fallback model are
the same for all providers (`agents.llm.calls`).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote
from weakref import WeakKeyDictionary

from django.conf import settings

from agents.llm import calls, chat_completions, http, openrouter_replies, replies, vendor
from agents.llm.completion import Completion
from agents.llm.errors import LLMError
from agents.llm.limits import MaxPrice
from agents.llm.prompt import Prompt
from agents.llm.retries import Deadline
from agents.llm.signs import Sent
from agents.llm.terms import Terms

LOOK_UP_WAITS_S = (0.0, 0.5)  # OpenRouter stores a generation a moment after its answer
LOOK_UP_AGAIN_S = 3600.0  # how long a server without /generation is not asked for it again
HEADERS = {"X-OpenRouter-Title": "Observatory"}


# By event loop, so that the entries end with the loop: a process has one, and so has each test.
_without_look_up: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, float]] = (
    WeakKeyDictionary()
)


def _known_without() -> dict[str, float]:
    """Return, by base URL, the monotonic time at which `/generation` was found missing."""
    return _without_look_up.setdefault(asyncio.get_running_loop(), {})


def _has_look_up(base_url: str) -> bool:
    found_at = _known_without().get(base_url)
    return found_at is None or time.monotonic() - found_at > LOOK_UP_AGAIN_S


@dataclass(frozen=True, kw_only=True)
class OpenRouterProvider(vendor.VendorProvider):
    """A model behind OpenRouter, bound to a key and its payer."""

    name: ClassVar[str] = "openrouter"
    title: ClassVar[str] = "OpenRouter"
    key_shape: ClassVar[str] = r"sk-or-v1-[A-Za-z0-9_-]{12,}"
    keys_page: ClassVar[str] = "openrouter.ai/settings/keys"
    public_name: ClassVar[str] = "openrouter"
    default_model: ClassVar[str] = "openai/gpt-5-mini"

    @classmethod
    def configured_url(cls) -> str:
        """Return OPENROUTER_BASE_URL, or OPENROUTER_URL if the former is the team's own server.

        Members' own OpenRouter keys must never be sent to the team's server.
        """
        is_openrouter = settings.SHARED_SERVER == "openrouter"
        address = settings.OPENROUTER_BASE_URL if is_openrouter else settings.OPENROUTER_URL
        return str(address).rstrip("/")

    def request(self, model_id: str, prompt: Prompt, terms: Terms) -> http.Request:
        # With `require_parameters`, a parameter that the model does not list excludes providers.
        listed = [name for name in chat_completions.LIMIT_NAMES if name in terms.facts.parameters]
        body = chat_completions.request_body(model_id, prompt, terms, *listed, "max_tokens")
        routing: dict[str, Any] = {}
        if prompt.schema is not None:
            # Without it, OpenRouter may choose endpoints that silently ignore the schema.
            routing["require_parameters"] = True
        if terms.max_price is not None:
            routing["max_price"] = _as_told(terms.max_price)
        if "provider" in terms.left_out:  # the maximum price is kept even if the request fails
            routing.pop("require_parameters", None)
        if routing:
            body["provider"] = routing
        if terms.effort and "reasoning" not in terms.left_out:
            body["reasoning"] = {"effort": terms.effort}
        return http.Request(
            base_url=self.base_url,
            path="/chat/completions",
            headers=HEADERS,
            body=body,
            id_header="x-generation-id",
        )

    def completion(self, reply: http.Reply, sent: Sent) -> Completion:
        return openrouter_replies.completion(reply, sent)

    def refusal(self, reply: http.Reply) -> LLMError:
        return openrouter_replies.refusal(reply, Sent())

    async def settled(self, completion: Completion, deadline: Deadline) -> Completion:
        """Return the completion, with its cost looked up if the response did not report it."""
        if completion.cost_usd is not None or not completion.generation_id:
            return completion
        if not _has_look_up(self.base_url):
            return completion
        deadline = deadline.within(calls.SETTLING_S)
        request = self._get(f"/generation?id={quote(completion.generation_id, safe='')}")
        for wait_s in LOOK_UP_WAITS_S:
            if wait_s >= deadline.remaining_s:
                break
            await asyncio.sleep(wait_s)
            try:
                reply = await http.send(
                    request, api_key=self.api_key, deadline_s=deadline.remaining_s
                )
            except LLMError:
                break  # an answer without a cost is still an answer
            if reply.status != 404:
                return openrouter_replies.completed_from(completion, reply)
            if not openrouter_replies.is_about_generation(reply):
                _known_without()[self.base_url] = time.monotonic()
                break
        return completion

    def key_check(self) -> http.Request:
        return self._get("/key")

    def is_key_accepted(self, reply: http.Reply) -> bool:
        body = replies.mapping(reply.body)
        return reply.status == 200 and bool(replies.mapping(body.get("data")))

    def _get(self, path: str) -> http.Request:
        return http.Request(base_url=self.base_url, path=path, method="GET", headers=HEADERS)


def _as_told(most: MaxPrice) -> dict[str, str]:
    """Return the prices as OpenRouter's schema requires them: decimal strings, in dollars."""
    prices = {"prompt": most.prompt, "completion": most.completion, "request": most.request}
    return {name: f"{price:f}" for name, price in prices.items() if price is not None}
