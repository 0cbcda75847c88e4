"""Anthropic: how Claude is asked, and what its replies mean.

It tells no cost, so that is estimated (`agents.llm.prices`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from agents.llm import calls, http, images, prices, replies, vendor
from agents.llm.base import Completion, Usage
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

MAX_TOKENS = 8192  # must be said; the most that every model since Claude 3.5 takes
HEADERS = {"anthropic-version": "2023-06-01"}
KEY_HEADER = ("x-api-key", "")
ID_HEADER = "request-id"

_KIND_INSIDE_200: dict[str, type[LLMError]] = {
    "authentication_error": KeyRejected,
    "billing_error": NoCredit,
    "permission_error": RequestForbidden,
    "not_found_error": ModelUnavailable,
    "rate_limit_error": RateLimited,
    "api_error": ProviderUnavailable,
    "timeout_error": ProviderUnavailable,
    "overloaded_error": ProviderUnavailable,
}
_NO_CREDIT = re.compile(r"credit balance", re.IGNORECASE)  # comes with a 400
_SCHEMA = re.compile(r"output.?(config|format)|json.?schema|structured.?output", re.IGNORECASE)
# The model wants something of us before it goes on; what it said so far is no answer.
_UNFINISHED = ("pause_turn", "tool_use")


@dataclass(frozen=True, kw_only=True)
class ClaudeProvider(vendor.VendorProvider):
    """A model at Anthropic, bound to a member's key."""

    base_url: str = field(default_factory=vendor.configured("ANTHROPIC_BASE_URL"))

    name: ClassVar[str] = "claude"
    title: ClassVar[str] = "Claude"
    key_shape: ClassVar[str] = r"sk-ant-[A-Za-z0-9_-]{12,}"
    keys_page: ClassVar[str] = "console.anthropic.com/settings/keys"

    @property
    def wire(self) -> ClaudeWire:
        return ClaudeWire(self.base_url)


@dataclass(frozen=True, slots=True)
class ClaudeWire:
    """Anthropic's side of `agents.llm.calls.Wire`."""

    base_url: str

    def request(self, model_id: str, prompt: calls.Prompt) -> http.Request:
        return http.Request(
            base_url=self.base_url,
            path="/v1/messages",
            headers=HEADERS,
            body=_request_body(model_id, prompt),
            key_header=KEY_HEADER,
            id_header=ID_HEADER,
        )

    def completion(self, reply: http.Reply, prompt: calls.Prompt) -> Completion:
        if not 200 <= reply.status < 300:
            raise _refusal(reply, has_schema=prompt.schema is not None)
        seen = _seen(reply)
        return replies.usable(seen, _problem(reply, seen), reply.status)

    def refusal(self, reply: http.Reply) -> LLMError:
        return _refusal(reply, has_schema=False)

    async def settled(
        self, completion: Completion, api_key: ApiKey, deadline: Deadline
    ) -> Completion:
        return await prices.estimated(completion, vendor="anthropic")

    def key_check(self) -> http.Request:
        return http.Request(
            base_url=self.base_url,
            path="/v1/models",
            method="GET",
            headers=HEADERS,
            key_header=KEY_HEADER,
        )

    def is_key_accepted(self, reply: http.Reply) -> bool:
        return reply.status == 200 and isinstance(replies.mapping(reply.body).get("data"), list)


# --- a request ------------------------------------------------------------------------------------


def _request_body(model_id: str, prompt: calls.Prompt) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model_id,
        "max_tokens": MAX_TOKENS,
        "messages": [{"role": "user", "content": _user_content(prompt)}],
    }
    if prompt.system:
        body["system"] = prompt.system
    if prompt.schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": prompt.schema}}
    return body


def _user_content(prompt: calls.Prompt) -> str | list[dict[str, Any]]:
    if not prompt.image_b64:
        return prompt.user
    media_type = images.media_type(prompt.image_b64)
    source = {"type": "base64", "media_type": media_type, "data": prompt.image_b64}
    picture = {"type": "image", "source": source}
    if not prompt.user.strip():  # a block of text must not be empty
        return [picture]
    return [picture, {"type": "text", "text": prompt.user}]


# --- a 200 ----------------------------------------------------------------------------------------


def _seen(reply: http.Reply) -> Completion:
    body = replies.mapping(reply.body)
    return replies.seen(
        reply,
        text_said=replies.joined_parts(body.get("content")),
        usage=_usage(replies.mapping(body.get("usage"))),
        finish_reason=body.get("stop_reason"),
    )


def _usage(usage: Mapping[str, Any]) -> Usage:
    """Return the usage; what was read from or written to the cache is not in `input_tokens`."""
    uncached = replies.count(usage.get("input_tokens"))
    written = replies.count(usage.get("cache_creation_input_tokens"))
    cached = replies.count(usage.get("cache_read_input_tokens"))
    return Usage(
        input_tokens=None if uncached is None else uncached + (written or 0) + (cached or 0),
        output_tokens=replies.count(usage.get("output_tokens")),
        cached_input_tokens=cached,
        cache_write_input_tokens=written,
    )


def _problem(reply: http.Reply, seen: Completion) -> LLMError | None:
    """Return why this 200 is no answer, or None if it is one."""
    if reply.flaw:
        return AnswerUnusable(f"the response cannot be read: {reply.flaw}")
    body = replies.mapping(reply.body)
    if error := replies.error_object(body.get("error")):
        kind = _KIND_INSIDE_200.get(_type(error), AnswerUnusable)
        return kind(_message(error) or "an error in the answer", error_type=_type(error))
    if seen.finish_reason == "refusal":
        why = replies.text(replies.mapping(body.get("stop_details")).get("explanation"))
        return RequestForbidden(replies.cleaned(f"the model refused: {why or 'it says no more'}"))
    if seen.finish_reason in _UNFINISHED:
        return AnswerUnusable(f"the answer has no proper end, but {seen.finish_reason!r}")
    return replies.missing_end(seen)


# --- an error -------------------------------------------------------------------------------------


def _refusal(reply: http.Reply, *, has_schema: bool) -> LLMError:
    error = replies.error_in(reply)
    message = _message(error) or f"HTTP {reply.status}"
    kind: type[LLMError] | None = None
    if reply.status == 400 and _NO_CREDIT.search(message):
        kind = NoCredit
    elif reply.status == 400 and has_schema and _SCHEMA.search(message):
        kind = SchemaUnsupported
    failure = replies.error_for_status(reply.status, message, error_type=_type(error), kind=kind)
    return replies.refused(reply, failure)


def _message(error: Mapping[str, Any]) -> str:
    return replies.cleaned(replies.text(error.get("message")))


def _type(error: Mapping[str, Any]) -> str:
    return replies.cleaned(replies.text(error.get("type")))
