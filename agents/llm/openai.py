"""Adapter for OpenAI: its differences from other vendors with the chat completions API."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from agents.llm import http, replies
from agents.llm.openai_compatible import ChatCompletionsProvider
from agents.llm.prompt import Prompt
from agents.llm.terms import Terms

_MISSING_SCOPE = re.compile(r"missing scopes", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class OpenAIProvider(ChatCompletionsProvider):
    """A model at OpenAI, bound to a member's key."""

    name: ClassVar[str] = "openai"
    title: ClassVar[str] = "OpenAI"
    key_shape: ClassVar[str] = r"sk-(?!or-|ant-)[A-Za-z0-9_-]{12,}"
    keys_page: ClassVar[str] = "platform.openai.com/api-keys"
    address: ClassVar[str] = "https://api.openai.com"
    address_setting: ClassVar[str] = "OPENAI_BASE_URL"
    public_name: ClassVar[str] = "openai"
    default_model: ClassVar[str] = "gpt-5-mini"
    id_header: ClassVar[str] = "x-request-id"
    limit_names: ClassVar[tuple[str, ...]] = ("max_completion_tokens", "max_tokens")

    def body(self, model_id: str, prompt: Prompt, terms: Terms) -> dict[str, Any]:
        body = super().body(model_id, prompt, terms)
        if terms.effort and "reasoning_effort" not in terms.left_out:
            body["reasoning_effort"] = terms.effort
        return body

    def is_key_accepted(self, reply: http.Reply) -> bool:
        if reply.status == 403:
            # A restricted key that may call models but not list them is valid.
            message = replies.text(replies.error_in(reply).get("message"))
            return bool(_MISSING_SCOPE.search(message))
        return super().is_key_accepted(reply)
