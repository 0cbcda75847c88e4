"""The shape of chat completions, which OpenAI made and OpenRouter speaks: requests and answers.

What each of them does alone, such as telling a cost or wording an error, is in its own file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.llm import http, images, replies, schemas
from agents.llm.base import Completion, Usage
from agents.llm.calls import Prompt
from agents.llm.errors import AnswerUnusable, LLMError, RequestForbidden

_UNFINISHED = ("tool_calls", "function_call")


def request_body(model_id: str, prompt: Prompt) -> dict[str, Any]:
    """Return what asks the model, held to the prompt's schema if there is one.

    Raises:
        RequestInvalid: the picture is none.
    """
    body: dict[str, Any] = {"model": model_id, "messages": _messages(prompt)}
    if prompt.schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {
                "name": schemas.name_of(prompt.schema),
                "strict": True,
                "schema": prompt.schema,
            },
        }
    return body


def _messages(prompt: Prompt) -> list[dict[str, Any]]:
    user = {"role": "user", "content": _user_content(prompt)}
    if not prompt.system:  # some vendors refuse an empty one
        return [user]
    return [{"role": "system", "content": prompt.system}, user]


def _user_content(prompt: Prompt) -> str | list[dict[str, Any]]:
    if not prompt.image_b64:
        return prompt.user
    url = f"data:{images.media_type(prompt.image_b64)};base64,{prompt.image_b64}"
    return [
        {"type": "text", "text": prompt.user},
        {"type": "image_url", "image_url": {"url": url}},
    ]


def first_choice(reply: http.Reply) -> Mapping[str, Any]:
    """Return the one choice that counts; empty if there is none."""
    return replies.first(replies.mapping(reply.body).get("choices"))


def usage_in(reply: http.Reply) -> Mapping[str, Any]:
    """Return the usage, in which OpenRouter also tells the cost."""
    return replies.mapping(replies.mapping(reply.body).get("usage"))


def seen(reply: http.Reply) -> Completion:
    """Return all that the response says but its cost, whether or not that makes an answer."""
    choice = first_choice(reply)
    return replies.seen(
        reply,
        text_said=_content(choice),
        usage=_usage(usage_in(reply)),
        finish_reason=choice.get("finish_reason"),
    )


def _content(choice: Mapping[str, Any]) -> str:
    content = replies.mapping(choice.get("message")).get("content")
    return replies.joined_parts(content) if isinstance(content, list) else replies.text(content)


def _usage(usage: Mapping[str, Any]) -> Usage:
    of_input = replies.mapping(usage.get("prompt_tokens_details"))
    of_output = replies.mapping(usage.get("completion_tokens_details"))
    return Usage(
        input_tokens=replies.count(usage.get("prompt_tokens")),
        output_tokens=replies.count(usage.get("completion_tokens")),
        cached_input_tokens=replies.count(of_input.get("cached_tokens")),
        cache_write_input_tokens=replies.count(of_input.get("cache_write_tokens")),
        reasoning_tokens=replies.count(of_output.get("reasoning_tokens")),
    )


def problem(reply: http.Reply, answer: Completion) -> LLMError | None:
    """Return why a 200 without an error in it is no answer, or None if it is one."""
    if reply.flaw:
        return AnswerUnusable(f"the response cannot be read: {reply.flaw}")
    choice = first_choice(reply)
    if not choice:
        return AnswerUnusable("the response has no choices")
    refused = replies.text(replies.mapping(choice.get("message")).get("refusal"))
    if answer.finish_reason == "content_filter" or (refused and not answer.text):
        return RequestForbidden(replies.cleaned(f"the model refused: {refused or 'filtered'}"))
    if answer.finish_reason in _UNFINISHED:
        return AnswerUnusable(f"it asks for a tool, and has none: {answer.finish_reason}")
    return replies.missing_end(answer)
