"""Streams that nobody asked for: what they come to in one body, and when they are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import SimpleTestCase

from agents.llm import bodies
from agents.llm.errors import AnswerCut, AnswerUnusable, RateLimited
from tests.llm.calling import SCHEMA
from tests.llm.loopback import Canned, loopback
from tests.llm.vendors import CLAUDE, OPENAI, OPENROUTER, Vendor

USAGE = {"prompt_tokens": 10, "completion_tokens": 3, "cost": 0.5, "is_byok": False}
GOOD = '{"is_lead": true, "why": "größer"}'


def events(*chunks: Any, done: bool = True) -> bytes:
    lines = [": OPENROUTER PROCESSING", *(f"data: {json.dumps(chunk)}" for chunk in chunks)]
    return "\n\n".join([*lines, *(["data: [DONE]"] if done else []), ""]).encode()


def chat(text: str, *, reason: str | None = "stop", **last: Any) -> list[dict[str, Any]]:
    head = {"id": "gen-1", "model": "a/b", "provider": "Sandbox"}
    pieces = [text[at : at + 5] for at in range(0, len(text), 5)]
    said = [{**head, "choices": [{"delta": {"content": piece}}]} for piece in pieces]
    end = {**head, "choices": [{"delta": {"content": ""}, "finish_reason": reason}], **last}
    return [*said, end, {**head, "choices": [], "usage": USAGE}]


def message(text: str, *, stop: bool = True) -> bytes:
    usage = {"input_tokens": 10, "output_tokens": 1}
    parts: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "msg_1", "model": "c", "usage": usage}},
        {"type": "content_block_start", "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "text": "secret"}},
        *(
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": piece}}
            for piece in (text[:4], text[4:])
        ),
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 7},
        },
    ]
    if stop:
        parts.append({"type": "message_stop"})
    lines = [f"event: {part['type']}\ndata: {json.dumps(part)} \n" for part in parts]
    return "\n".join([*lines, ""]).encode()


class Streams(SimpleTestCase):
    async def test_a_whole_stream_is_the_answer_it_would_have_been(self):
        for vendor in (OPENROUTER, OPENAI):
            completion = await vendor.completed(Canned(body=events(*chat(GOOD))))

            assert completion.text == GOOD
            assert (completion.served_model, completion.finish_reason) == ("a/b", "stop")
            assert completion.usage.output_tokens == 3
        completion = await CLAUDE.completed(Canned(body=message(GOOD)))

        assert (completion.text, completion.finish_reason) == (GOOD, "end_turn")
        assert (completion.usage.input_tokens, completion.usage.output_tokens) == (10, 7)

    async def test_a_separator_within_the_text_ends_no_line(self):
        text = '{"is_lead": true, "why": "one\u2028two\u0085three"}'
        raw = "".join(f"data: {json.dumps(c, ensure_ascii=False)}\n\n" for c in chat(text))
        completion = await OPENROUTER.completed(Canned(body=f"{raw}data: [DONE]\n\n".encode()))

        assert completion.text == text

    async def test_json_that_comes_among_the_thoughts_is_found_and_thoughts_are_no_answer(self):
        for name in ("reasoning_content", "reasoning"):
            chunks = json.loads(json.dumps(chat(GOOD)).replace('"content"', f'"{name}"'))
            with self.subTest(name):
                async with loopback(Canned(body=events(*chunks))) as server:
                    llm = OPENROUTER.provider(server.base_url)
                    answer = await llm.complete("s", "u", schema=SCHEMA)
                    with pytest.raises(AnswerUnusable):
                        await llm.complete("s", "u")

                assert answer.text == GOOD

    async def test_a_stream_whose_upstream_ended_at_a_limit_is_cut(self):
        chunks = chat(GOOD)
        chunks[-2]["choices"][0]["native_finish_reason"] = "MAX_TOKENS"
        await OPENROUTER.failed(Canned(body=events(*chunks)), AnswerCut)

    async def test_a_stream_without_its_end_is_cut_whatever_its_json_says(self):
        cut: list[tuple[Vendor, bytes]] = [
            (OPENROUTER, events(*chat(GOOD), done=False)),
            (OPENROUTER, events(*chat(GOOD, reason=None))),
            (OPENROUTER, events(*chat(GOOD, reason="length"))),
            (OPENAI, events(*chat(GOOD), done=False)),
            (CLAUDE, message(GOOD, stop=False)),
        ]
        for vendor, raw in cut:
            with self.subTest(vendor.name, raw=raw[-60:]):
                async with loopback(Canned(body=raw)) as server:
                    llm = vendor.provider(server.base_url)
                    with pytest.raises(AnswerCut):
                        await llm.complete("s", "u", schema=SCHEMA)

    async def test_an_error_in_mid_stream_is_no_answer(self):
        error = {"code": 429, "message": "slow down"}
        raw = events(*chat("Hel", reason="error", error=error), done=False)
        failure = await OPENROUTER.failed(Canned(body=raw), RateLimited)
        assert failure.maybe_charged

        await OPENAI.failed(Canned(body=events(*chat("H", error={"message": "x"}))), AnswerUnusable)

    def test_a_stream_that_breaks_off_anywhere_never_seems_to_have_ended(self):
        for whole in (events(*chat(GOOD)), message(GOOD)):
            end = len(whole.rstrip())
            for length in range(1, end):
                raw = whole[:length]
                if not bodies.are_events(raw):
                    continue
                try:
                    body = bodies.put_together(raw)
                except ValueError:
                    continue
                choice = (body.get("choices") or [body])[0]
                assert {choice.get("finish_reason"), choice.get("stop_reason")} == {None}
