"""OpenAI: how it is asked, and what its errors mean.

It tells no cost, so that is estimated (`agents.llm.prices`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar

from agents.llm import calls, chat_completions, http, prices, refusals, replies, vendor
from agents.llm.base import Completion
from agents.llm.errors import LLMError
from agents.llm.keys import ApiKey
from agents.llm.retries import Deadline
from agents.llm.signs import Sent
from agents.llm.terms import Terms

_MISSING_SCOPE = re.compile(r"missing scopes", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class OpenAIProvider(vendor.VendorProvider):
    """A model at OpenAI, bound to a member's key."""

    base_url: str = field(default_factory=vendor.configured("OPENAI_BASE_URL"))

    name: ClassVar[str] = "openai"
    title: ClassVar[str] = "OpenAI"
    key_shape: ClassVar[str] = r"sk-(?!or-|ant-)[A-Za-z0-9_-]{12,}"
    keys_page: ClassVar[str] = "platform.openai.com/api-keys"

    @property
    def wire(self) -> OpenAIWire:
        return OpenAIWire(self.base_url)


@dataclass(frozen=True, slots=True)
class OpenAIWire:
    """OpenAI's side of `agents.llm.calls.Wire`."""

    base_url: str

    reasons_unasked: ClassVar[bool] = True

    def request(self, model_id: str, prompt: calls.Prompt, terms: Terms) -> http.Request:
        body = chat_completions.request_body(model_id, prompt, terms)
        if terms.effort and "reasoning_effort" not in terms.left_out:
            body["reasoning_effort"] = terms.effort
        return http.Request(
            base_url=self.base_url,
            path=vendor.versioned(self.base_url, "/chat/completions"),
            body=body,
            id_header="x-request-id",
        )

    def completion(self, reply: http.Reply, sent: Sent) -> Completion:
        if not 200 <= reply.status < 300:
            raise refusals.refused(reply, sent)
        error = replies.error_object(replies.mapping(reply.body).get("error"))
        if error and replies.holds_nothing_else(reply, "choices"):
            raise replies.unbilled(refusals.understood(refusals.said(0, error), sent), reply)
        seen = chat_completions.seen(reply, sent)
        problem = (
            refusals.broken_off(refusals.said(0, error))
            if error
            else chat_completions.problem(reply, seen)
        )
        return replies.usable(seen, problem, reply.status)

    def refusal(self, reply: http.Reply) -> LLMError:
        return refusals.refused(reply, Sent())

    async def settled(
        self, completion: Completion, api_key: ApiKey, deadline: Deadline
    ) -> Completion:
        return await prices.estimated(completion, vendor="openai")

    def key_check(self) -> http.Request:
        path = vendor.versioned(self.base_url, "/models")
        return http.Request(base_url=self.base_url, path=path, method="GET")

    def is_key_accepted(self, reply: http.Reply) -> bool:
        if reply.status == 403:
            # A key that may ask models, but not list them.
            message = replies.text(replies.error_in(reply).get("message"))
            return bool(_MISSING_SCOPE.search(message))
        return reply.status == 200 and isinstance(replies.mapping(reply.body).get("data"), list)
