"""A server of the team's own that speaks OpenAI's chat completions, asked with the shared key.

Such as Ollama, llama.cpp, vLLM or LiteLLM: what `SHARED_SERVER=compatible` says stands behind
OPENROUTER_BASE_URL. None of OpenRouter's extras are sent to it, and it is asked nothing but models:
it has no price list that we know, so a call's cost is what its answer says, or unknown.
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
    key_shape: ClassVar[str] = r"(?!)"  # members have none: no text is taken for such a key
    address_setting: ClassVar[str] = "OPENROUTER_BASE_URL"
    public_name: ClassVar[str] = NAME

    def completion(self, reply: http.Reply, sent: Sent) -> Completion:
        try:
            seen = super().completion(reply, sent)
        except RequestInvalid as error:
            # FastAPI's 422 finds a field that it does not know, and says nothing of schemas.
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
    """Return the completion with its cost in dollars, if named where OpenRouter names it."""
    cost_usd = replies.dollars(chat_completions.usage_in(reply).get("cost"))
    if cost_usd is None:
        return seen
    return replace(seen, cost_usd=cost_usd, cost_source=CostSource.REPORTED)
