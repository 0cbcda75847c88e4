"""Adapter for the team's own server with OpenAI's chat completions API, used with the shared key.

Examples are Ollama, llama.cpp, vLLM and LiteLLM. `SHARED_SERVER=compatible` selects it, and
OPENROUTER_BASE_URL is its address. It gets none of OpenRouter's extensions and no cost look-ups.
No price list is known for it, so a call's cost is the one in the response, or unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from agents.llm import chat_completions, http, replies
from agents.llm.completion import Completion, CostSource
from agents.llm.errors import LLMError, RequestInvalid, SchemaUnsupported
from agents.llm.openai_compatible import ChatCompletionsProvider
from agents.llm.retries import Deadline
from agents.llm.signs import Sent

NAME = "compatible"


@dataclass(frozen=True, kw_only=True)
class CompatibleProvider(ChatCompletionsProvider):
    """A model on the team's own server, bound to the shared key."""

    name: ClassVar[str] = NAME
    title: ClassVar[str] = "the team's server"
    key_shape: ClassVar[str] = r"(?!)"  # matches nothing: members have no keys for this server
    address_setting: ClassVar[str] = "OPENROUTER_BASE_URL"
    public_name: ClassVar[str] = NAME

    def completion(self, reply: http.Reply, sent: Sent) -> Completion:
        try:
            seen = super().completion(reply, sent)
        except RequestInvalid as error:
            # FastAPI answers 422 to an unknown field, without mentioning the schema.
            if sent.has_schema and reply.status == 422 and type(error) is RequestInvalid:
                raise _without_schema(error) from None
            raise
        except LLMError as error:
            if error.learnt is not None:
                error.learnt = _as_billed(error.learnt, reply)
            raise
        return _as_billed(seen, reply)

    async def settled(self, completion: Completion, deadline: Deadline) -> Completion:
        return completion


def _without_schema(error: RequestInvalid) -> SchemaUnsupported:
    refusal = SchemaUnsupported(
        str(error), http_status=error.http_status, error_type=error.error_type
    )
    refusal.generation_id, refusal.upstream = error.generation_id, error.upstream
    return refusal


def _as_billed(seen: Completion, reply: http.Reply) -> Completion:
    """Return the completion with the cost from `usage.cost`, OpenRouter's field, if present."""
    cost_usd = replies.dollars(chat_completions.usage_in(reply).get("cost"))
    if cost_usd is None:
        return seen
    return replace(seen, cost_usd=cost_usd, cost_source=CostSource.REPORTED)
