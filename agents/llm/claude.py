"""Adapter for Anthropic's Messages API: builds requests and interprets replies.

Anthropic reports no cost, so it is estimated (`agents.llm.prices`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from agents.llm import http, images, prices, refusals, replies, vendor
from agents.llm.completion import Completion, Usage
from agents.llm.errors import AnswerUnusable, LLMError, RequestForbidden
from agents.llm.prompt import Prompt
from agents.llm.retries import Deadline
from agents.llm.signs import Sent
from agents.llm.terms import Terms

HEADERS = {"anthropic-version": "2023-06-01"}
KEY_HEADER = ("x-api-key", "")
ID_HEADER = "request-id"

# Stop reasons with which the model waits for input from the client; the answer is incomplete.
_UNFINISHED = ("pause_turn", "tool_use")


@dataclass(frozen=True, kw_only=True)
class ClaudeProvider(vendor.VendorProvider):
    """A model at Anthropic, bound to a member's key."""

    name: ClassVar[str] = "claude"
    title: ClassVar[str] = "Claude"
    key_shape: ClassVar[str] = r"sk-ant-[A-Za-z0-9_-]{12,}"
    keys_page: ClassVar[str] = "console.anthropic.com/settings/keys"
    address: ClassVar[str] = "https://api.anthropic.com"
    address_setting: ClassVar[str] = "ANTHROPIC_BASE_URL"
    public_name: ClassVar[str] = "anthropic"
    default_model: ClassVar[str] = "claude-haiku-4-5"
    reasons_unasked: ClassVar[bool] = False  # Claude reasons only if the request asks for it

    def request(self, model_id: str, prompt: Prompt, terms: Terms) -> http.Request:
        return http.Request(
            base_url=self.base_url,
            path="/v1/messages",
            headers=HEADERS,
            body=_request_body(model_id, prompt, terms),
            key_header=KEY_HEADER,
            id_header=ID_HEADER,
        )

    def completion(self, reply: http.Reply, sent: Sent) -> Completion:
        if not 200 <= reply.status < 300:
            raise refusals.refused(reply, sent)
        error = replies.error_object(replies.mapping(reply.body).get("error"))
        if error and replies.holds_nothing_else(reply, "content"):
            raise replies.unbilled(refusals.understood(refusals.said(0, error), sent), reply)
        seen = replies.known_whole(_seen(reply), reply, wants_json=sent.wants_json)
        return replies.usable(seen, _problem(reply, seen), reply.status)

    def refusal(self, reply: http.Reply) -> LLMError:
        return refusals.refused(reply, Sent())

    async def settled(self, completion: Completion, deadline: Deadline) -> Completion:
        return await prices.estimated(completion, vendor=self.public_name)

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


def _request_body(model_id: str, prompt: Prompt, terms: Terms) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model_id,
        "max_tokens": terms.max_tokens,  # mandatory in this API
        "messages": [{"role": "user", "content": _user_content(prompt)}],
    }
    if prompt.system:
        body["system"] = prompt.system
    if prompt.schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": prompt.schema}}
    return body


def _user_content(prompt: Prompt) -> str | list[dict[str, Any]]:
    if not prompt.image_b64:
        return prompt.user
    media_type = images.media_type(prompt.image_b64)
    source = {"type": "base64", "media_type": media_type, "data": prompt.image_b64}
    picture = {"type": "image", "source": source}
    if not prompt.user.strip():  # Anthropic refuses empty text blocks
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
    """Return the usage; Anthropic's `input_tokens` excludes cached tokens, so they are added."""
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
    """Return why a 200 has no usable answer, or None if it has one."""
    if reply.flaw:
        return AnswerUnusable(f"the response cannot be read: {reply.flaw}")
    body = replies.mapping(reply.body)
    if error := replies.error_object(body.get("error")):
        return refusals.broken_off(refusals.said(0, error))
    if seen.finish_reason == "refusal":
        why = replies.text(replies.mapping(body.get("stop_details")).get("explanation"))
        return RequestForbidden(replies.cleaned(f"the model refused: {why or 'it says no more'}"))
    if seen.finish_reason in _UNFINISHED:
        return AnswerUnusable(f"the answer has no proper end, but {seen.finish_reason!r}")
    return replies.missing_end(seen)
