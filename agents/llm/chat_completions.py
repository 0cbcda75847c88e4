"""Requests and responses of OpenAI's chat completions API, which many vendors and servers share.

What is specific to one vendor, such as costs or error messages, is in that vendor's file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.llm import http, images, replies, schemas
from agents.llm.completion import AT_CONTEXT_LIMIT, AT_OUTPUT_LIMIT, Completion, Usage
from agents.llm.errors import AnswerUnusable, LLMError, RequestForbidden
from agents.llm.prompt import Prompt
from agents.llm.signs import Sent
from agents.llm.terms import Terms

_UNFINISHED = ("tool_calls", "function_call")
_THOUGHTS = ("reasoning_content", "reasoning")

LIMIT_NAMES = ("max_completion_tokens", "max_tokens")


# --- a request ------------------------------------------------------------------------------------


def request_body(model_id: str, prompt: Prompt, terms: Terms, *limit_names: str) -> dict[str, Any]:
    """Return the body of a request, with the prompt's schema as `response_format` if it has one.

    The output limit is sent under the first name of `limit_names` and `LIMIT_NAMES` that is not in
    `terms.left_out`.

    Raises:
        PictureInvalid: the prompt's image is no JPEG, PNG, WebP or GIF.
    """
    body: dict[str, Any] = {"model": model_id, "messages": _messages(prompt)}
    for name in (*limit_names, *LIMIT_NAMES):
        if name not in terms.left_out:
            body[name] = terms.max_tokens
            break
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
    if not prompt.system:  # some vendors refuse an empty system message
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


# --- an answer ------------------------------------------------------------------------------------


def first_choice(reply: http.Reply) -> Mapping[str, Any]:
    """Return the response's first choice; an empty mapping if there is none."""
    return replies.first(replies.mapping(reply.body).get("choices"))


def usage_in(reply: http.Reply) -> Mapping[str, Any]:
    """Return the response's `usage`, which at OpenRouter includes the cost."""
    return replies.mapping(replies.mapping(reply.body).get("usage"))


def seen(reply: http.Reply, sent: Sent) -> Completion:
    """Return everything in the response except the cost, even if it is no usable answer."""
    choice = first_choice(reply)
    answer = replies.seen(
        reply,
        text_said=_content(choice, wants_json=sent.wants_json),
        usage=_usage(usage_in(reply)),
        finish_reason=_finish_reason(choice),
    )
    return replies.known_whole(answer, reply, wants_json=sent.wants_json)


def _finish_reason(choice: Mapping[str, Any]) -> object:
    """Return the finish reason; the upstream vendor's own takes precedence if it is a limit."""
    native = replies.text(choice.get("native_finish_reason"))
    if native.casefold() in AT_OUTPUT_LIMIT | AT_CONTEXT_LIMIT:
        return native.casefold()
    return choice.get("finish_reason")


def _content(choice: Mapping[str, Any], *, wants_json: bool) -> str:
    """Return the message's text, or its reasoning if that alone holds the requested JSON object."""
    message = replies.mapping(choice.get("message"))
    content = message.get("content")
    said = replies.joined_parts(content) if isinstance(content, list) else replies.text(content)
    if said.strip() or not wants_json:
        return said
    # Some servers mistake the answer for reasoning and leave the content empty.
    thoughts = (replies.text(message.get(name)).strip() for name in _THOUGHTS)
    return next((thought for thought in thoughts if replies.is_json_object(thought)), said)


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
    """Return why a 200 without an error object has no usable answer, or None if it has one."""
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
