"""Base class of the adapters for vendors with OpenAI's chat completions API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from agents.llm import chat_completions, http, prices, refusals, replies, vendor
from agents.llm.completion import Completion
from agents.llm.errors import LLMError
from agents.llm.prompt import Prompt
from agents.llm.retries import Deadline
from agents.llm.signs import Sent
from agents.llm.terms import Terms


@dataclass(frozen=True, kw_only=True)
class ChatCompletionsProvider(vendor.VendorProvider):
    """A model at a vendor with OpenAI's chat completions API.

    The vendor reports no cost, so it is estimated (`agents.llm.prices`).
    """

    id_header: ClassVar[str] = ""  # the replies' header with the vendor's ID of the call
    limit_names: ClassVar[tuple[str, ...]] = ("max_tokens",)  # output limit parameters, best first

    def body(self, model_id: str, prompt: Prompt, terms: Terms) -> dict[str, Any]:
        """Return the JSON body of the request."""
        return chat_completions.request_body(model_id, prompt, terms, *self.limit_names)

    def request(self, model_id: str, prompt: Prompt, terms: Terms) -> http.Request:
        return http.Request(
            base_url=self.base_url,
            path=vendor.versioned(self.base_url, "/chat/completions"),
            body=self.body(model_id, prompt, terms),
            id_header=self.id_header,
        )

    def completion(self, reply: http.Reply, sent: Sent) -> Completion:
        if not 200 <= reply.status < 300:
            raise refusals.refused(reply, sent)
        error = replies.error_object(replies.mapping(reply.body).get("error"))
        if error and replies.holds_nothing_else(reply, "choices"):
            raise replies.unbilled(refusals.understood(refusals.said(0, error), sent), reply)
        answer = chat_completions.seen(reply, sent)
        wrong = (
            refusals.broken_off(refusals.said(0, error))
            if error
            else chat_completions.problem(reply, answer)
        )
        return replies.usable(answer, wrong, reply.status)

    def refusal(self, reply: http.Reply) -> LLMError:
        return refusals.refused(reply, Sent())

    async def settled(self, completion: Completion, deadline: Deadline) -> Completion:
        return await prices.estimated(completion, vendor=self.public_name)

    def key_check(self) -> http.Request:
        path = vendor.versioned(self.base_url, "/models")
        return http.Request(base_url=self.base_url, path=path, method="GET")

    def is_key_accepted(self, reply: http.Reply) -> bool:
        return reply.status == 200 and isinstance(replies.mapping(reply.body).get("data"), list)
