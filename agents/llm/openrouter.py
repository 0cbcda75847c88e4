"""OpenRouter: how it is asked.

What its replies mean is in `agents.llm.openrouter_replies`; retries, records and the fallback model
are the same for all providers (`agents.llm.calls`).
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

LOOK_UP_WAITS_S = (0.0, 0.5)  # a generation is stored a moment after its answer
LOOK_UP_AGAIN_S = 3600.0  # a server that has no /generation is asked for it no more often
HEADERS = {"X-OpenRouter-Title": "Observatory"}


# By event loop: what a server lacks is forgotten with the process's one loop, or a test's.
_without_look_up: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, float]] = (
    WeakKeyDictionary()
)


def _known_without() -> dict[str, float]:
    """Return when which base URLs were found to have no `/generation`."""
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
        """Return OPENROUTER_BASE_URL, unless a server of the team's own is there.

        Members' own OpenRouter keys go to OpenRouter only: no other server gets to know them.
        """
        is_openrouter = settings.SHARED_SERVER == "openrouter"
        address = settings.OPENROUTER_BASE_URL if is_openrouter else settings.OPENROUTER_URL
        return str(address).rstrip("/")

    def request(self, model_id: str, prompt: Prompt, terms: Terms) -> http.Request:
        # With `require_parameters` a name that the model does not list would shut providers out.
        listed = [name for name in chat_completions.LIMIT_NAMES if name in terms.facts.parameters]
        body = chat_completions.request_body(model_id, prompt, terms, *listed, "max_tokens")
        routing: dict[str, Any] = {}
        if prompt.schema is not None:
            # Without it, endpoints that know no schema are asked all the same and drop it silently.
            routing["require_parameters"] = True
        if terms.max_price is not None:
            routing["max_price"] = _as_told(terms.max_price)
        if "provider" in terms.left_out:  # but for the price: it is never let go to get through
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
        """Return the completion with its cost asked for, if the response did not say it."""
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
                break  # an answer without a price is still an answer
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
    """Return the prices as OpenRouter's schema types them: decimal text, in dollars."""
    prices = {"prompt": most.prompt, "completion": most.completion, "request": most.request}
    return {name: f"{price:f}" for name, price in prices.items() if price is not None}
