"""OpenAI: how it is asked, and what its errors mean.

It tells no cost, so that is estimated (`agents.llm.prices`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from agents.llm import calls, chat_completions, http, prices, replies, vendor
from agents.llm.base import Completion
from agents.llm.errors import (
    AnswerUnusable,
    KeyRejected,
    LLMError,
    ModelUnavailable,
    NoCredit,
    ProviderUnavailable,
    RateLimited,
    RequestForbidden,
    SchemaUnsupported,
)
from agents.llm.keys import ApiKey
from agents.llm.retries import Deadline

# What an error's code tells better than its status.
_KIND_OF_CODE: dict[str, type[LLMError]] = {
    "insufficient_quota": NoCredit,  # comes with a 429
    "billing_hard_limit_reached": NoCredit,
    "model_not_found": ModelUnavailable,  # comes with a 404, a 403 or a 400
    "content_policy_violation": RequestForbidden,
    "content_filter": RequestForbidden,
}
# An error in a 200 has no status at all.
_KIND_INSIDE_200: dict[str, type[LLMError]] = {
    **_KIND_OF_CODE,
    "invalid_api_key": KeyRejected,
    "rate_limit_exceeded": RateLimited,
    "server_error": ProviderUnavailable,
}
_SCHEMA = re.compile(r"response_format|json_schema|structured.?output", re.IGNORECASE)
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

    def request(self, model_id: str, prompt: calls.Prompt) -> http.Request:
        return http.Request(
            base_url=self.base_url,
            path=vendor.versioned(self.base_url, "/chat/completions"),
            body=chat_completions.request_body(model_id, prompt),
            id_header="x-request-id",
        )

    def completion(self, reply: http.Reply, prompt: calls.Prompt) -> Completion:
        if not 200 <= reply.status < 300:
            raise _refusal(reply, has_schema=prompt.schema is not None)
        seen = chat_completions.seen(reply)
        error = replies.error_object(replies.mapping(reply.body).get("error"))
        problem = _failure_inside_200(error) if error else chat_completions.problem(reply, seen)
        return replies.usable(seen, problem, reply.status)

    def refusal(self, reply: http.Reply) -> LLMError:
        return _refusal(reply, has_schema=False)

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


def _refusal(reply: http.Reply, *, has_schema: bool) -> LLMError:
    error = replies.error_in(reply)
    message, code = _message(error), _code(error)
    kind = _KIND_OF_CODE.get(code)
    if has_schema and reply.status == 400 and _SCHEMA.search(f"{message} {error.get('param')}"):
        kind = SchemaUnsupported
    failure = replies.error_for_status(
        reply.status, message or f"HTTP {reply.status}", error_type=code, kind=kind
    )
    return replies.refused(reply, failure)


def _failure_inside_200(error: Mapping[str, Any]) -> LLMError:
    code = _code(error)
    kind = _KIND_INSIDE_200.get(code, AnswerUnusable)
    return kind(replies.cleaned(_message(error)) or "an error in the answer", error_type=code)


def _message(error: Mapping[str, Any]) -> str:
    return replies.text(error.get("message"))


def _code(error: Mapping[str, Any]) -> str:
    return replies.cleaned(replies.text(error.get("code")) or replies.text(error.get("type")))
