"""Sound responses whose answer is not what was asked for; models of any vendor give them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from observatory.sandbox.exchange import Exchange

MAX_SAID = 1500
PROSE = "Sure! Here is what I think about it, in plain words and without any braces."


def cut(exchange: Exchange) -> str:
    """Return the first half of the answer, as a limit of tokens leaves it."""
    text = exchange.answer()
    return text[: len(text) // 2]


def _prose_once(exchange: Exchange) -> str:
    return exchange.answer() if exchange.is_corrected else PROSE


def _broken_json(exchange: Exchange) -> str:
    return exchange.answer().removesuffix("}") + ","


def _fenced_json(exchange: Exchange) -> str:
    return f"Here it is:\n```json\n{exchange.answer()}\n```\n"


def _think_first(exchange: Exchange) -> str:
    return f'<think>Would {{"x": 1}} do? No, {{"y": [2]}} neither.</think>\n{exchange.answer()}'


def _in_a_list(exchange: Exchange) -> str:
    return f"[{exchange.answer()}]"


def _under_a_name(exchange: Exchange) -> str:
    return f'{{"Answer": {exchange.answer()}}}'


def _obedient(exchange: Exchange) -> str:
    """Return the answer with what the member's message says in every free text, as if told to."""
    if exchange.schema is None:
        return exchange.prompt[:MAX_SAID]
    return json.dumps(_saying(json.loads(exchange.answer()), exchange.prompt[:MAX_SAID]))


def _saying(value: Any, words: str) -> Any:
    if isinstance(value, dict):
        return {name: _saying(part, words) for name, part in value.items()}
    if isinstance(value, list):
        return [_saying(part, words) for part in value]
    # A single word may be one of those that the schema allows.
    return words if isinstance(value, str) and " " in value else value


TEXTS: dict[str, Callable[[Exchange], str]] = {
    "bad-json": lambda exchange: PROSE,
    "bad-json-once": _prose_once,
    "broken-json": _broken_json,
    "fenced-json": _fenced_json,
    "think-first": _think_first,
    "in-a-list": _in_a_list,
    "under-a-name": _under_a_name,
    "obedient": _obedient,
    "empty-content": lambda exchange: "",
}
