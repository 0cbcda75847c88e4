"""Sound bodies in which something is missing, double or of another kind.

Those in `CHOICES` are for the two vendors whose answers have `choices`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from observatory.sandbox.exchange import Exchange, Reply
from observatory.sandbox.web import Json
from tests.misbehaviours.kinds import Misbehaviour, Spoiling
from tests.misbehaviours.texts import cut

Writing = Callable[[Exchange, str], Reply]


def spoiled(written: Writing, spoilings: Mapping[str, Spoiling]) -> dict[str, Misbehaviour]:
    """Return models that answer well and whose answers are then spoiled."""
    return {name: _spoiling(written, spoil) for name, spoil in spoilings.items()}


def truncated(written: Writing) -> Misbehaviour:
    """Return a model that reaches its limit of tokens in the middle of an answer."""
    return lambda exchange: with_choice(written(exchange, cut(exchange)), finish_reason="length")


def served_by(model_id: str) -> Spoiling:
    """Return a spoiling after which the answer is said to be another model's."""

    def sign(reply: Reply) -> Reply:
        served = {"model": model_id}
        return replace(
            reply, body=reply.body | served, generation=(reply.generation or {}) | served
        )

    return sign


def with_body(reply: Reply, **values: Any) -> Reply:
    """Return the reply with these values at the top of its body."""
    return replace(reply, body=reply.body | values)


def with_choice(reply: Reply, **values: Any) -> Reply:
    """Return the reply with these values in its one choice."""
    return with_body(reply, choices=[reply.body["choices"][0] | values])


def with_message(reply: Reply, **values: Any) -> Reply:
    """Return the reply with these values in the message of its one choice."""
    return with_choice(reply, message=reply.body["choices"][0]["message"] | values)


def without_usage(reply: Reply) -> Reply:
    """Return the reply without its usage."""
    body = {name: value for name, value in reply.body.items() if name != "usage"}
    return replace(reply, body=body)


def _spoiling(written: Writing, spoil: Spoiling) -> Misbehaviour:
    return lambda exchange: spoil(written(exchange, exchange.answer()))


def _without_finish(reply: Reply) -> Reply:
    choice: Json = reply.body["choices"][0]
    ends = [name for name in choice if name.endswith("finish_reason")]
    return with_choice(reply, **dict.fromkeys(ends))


def _calling_tools(reply: Reply) -> Reply:
    call = {
        "id": "call_sandbox",
        "type": "function",
        "function": {"name": "look_up", "arguments": '{"query": "switching cost"}'},
    }
    said = with_message(reply, content=None, tool_calls=[call])
    return with_choice(said, finish_reason="tool_calls")


def _in_parts(reply: Reply) -> Reply:
    text = reply.body["choices"][0]["message"]["content"]
    middle = len(text) // 2
    parts = [{"type": "text", "text": part} for part in (text[:middle], text[middle:])]
    return with_message(reply, content=parts)


def _as_thought(reply: Reply) -> Reply:
    """Put the whole answer where thoughts go, and nothing where answers do."""
    text = reply.body["choices"][0]["message"]["content"]
    return with_message(reply, content=None, reasoning_content=text)


def _with_thoughts(reply: Reply) -> Reply:
    text = reply.body["choices"][0]["message"]["content"]
    parts = [{"type": "reasoning", "text": "SECRET THOUGHT"}, {"type": "text", "text": text}]
    return with_message(reply, content=parts)


def _twice(reply: Reply) -> Reply:
    second = deepcopy(reply.body["choices"][0]) | {"index": 1}
    second["message"]["content"] = "A second opinion that nobody asked for."
    return with_body(reply, choices=[*reply.body["choices"], second])


CHOICES: dict[str, Spoiling] = {
    "null-choices": lambda reply: with_body(reply, choices=None),
    "no-choices": lambda reply: with_body(reply, choices=[]),
    "no-finish": _without_finish,
    "null-content": lambda reply: with_message(reply, content=None),
    "tool-calls": _calling_tools,
    "content-parts": _in_parts,
    "as-thought": _as_thought,
    "with-thoughts": _with_thoughts,
    "two-choices": _twice,
    "no-usage": without_usage,
}
