"""Sound responses around an answer that is not what was asked for; any vendor's models say such things."""

from __future__ import annotations

from collections.abc import Callable

from observatory.sandbox.exchange import Exchange

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


TEXTS: dict[str, Callable[[Exchange], str]] = {
    "bad-json": lambda exchange: PROSE,
    "bad-json-once": _prose_once,
    "broken-json": _broken_json,
    "fenced-json": _fenced_json,
    "empty-content": lambda exchange: "",
}
