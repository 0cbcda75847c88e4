"""A server of the team's own that speaks OpenAI's chat completions, asked with the shared key.

Such as Ollama, llama.cpp, vLLM or LiteLLM: what `SHARED_SERVER=compatible` says stands behind
OPENROUTER_BASE_URL. None of OpenRouter's extras are sent to it, and it is asked nothing but models:
it has no price list that we know, so a call costs what its answer says, or nobody knows.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import ClassVar

from agents.llm import calls, chat_completions, http, openai, replies, vendor
from agents.llm.base import Completion, CostSource
from agents.llm.errors import SchemaUnsupported
from agents.llm.keys import ApiKey
from agents.llm.retries import Deadline

NAME = "compatible"
_SCHEMA = re.compile(r"response_format|json_schema|structured.?output|grammar", re.IGNORECASE)
_LOOKED_AT_CHARS = 4000


@dataclass(frozen=True, kw_only=True)
class CompatibleProvider(openai.OpenAIProvider):
    """A model on the team's own server, bound to the shared key."""

    base_url: str = field(default_factory=vendor.configured("OPENROUTER_BASE_URL"))

    name: ClassVar[str] = NAME
    title: ClassVar[str] = "the team's server"
    key_shape: ClassVar[str] = r"(?!)"  # members have none: no text is taken for such a key
    keys_page: ClassVar[str] = ""

    @property
    def wire(self) -> CompatibleWire:
        return CompatibleWire(self.base_url)


@dataclass(frozen=True, slots=True)
class CompatibleWire(openai.OpenAIWire):
    """OpenAI's wire as servers speak it that know less of it."""

    def completion(self, reply: http.Reply, prompt: calls.Prompt) -> Completion:
        if prompt.schema is not None and _refuses_schema(reply):
            refusal = SchemaUnsupported(
                f"HTTP {reply.status} to a schema", http_status=reply.status
            )
            raise replies.refused(reply, refusal)
        return _as_billed(super(CompatibleWire, self).completion(reply, prompt), reply)

    async def settled(
        self, completion: Completion, api_key: ApiKey, deadline: Deadline
    ) -> Completion:
        return completion


def _refuses_schema(reply: http.Reply) -> bool:
    """Return whether a refusal is about the schema: it says so, or finds a field that it does not know.

    Servers have no common code for it, and FastAPI's 422 is no error object at all.
    """
    if reply.status == 422:
        return True
    if reply.status not in (400, 404, 415, 500, 501):
        return False
    said = json.dumps(reply.body, default=str)[:_LOOKED_AT_CHARS]
    return bool(_SCHEMA.search(said))


def _as_billed(seen: Completion, reply: http.Reply) -> Completion:
    """Return the completion with the cost that some gateways name, in dollars, where OpenRouter does."""
    cost_usd = replies.dollars(chat_completions.usage_in(reply).get("cost"))
    if cost_usd is None:
        return seen
    return replace(seen, cost_usd=cost_usd, cost_source=CostSource.REPORTED)
