"""What a reply does between its placeholder and its answer."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from unittest import IsolatedAsyncioTestCase

import pytest

from pipeline.bot.outbox import Outbox
from pipeline.bot.reply import LiveReply


class FakeOutbox:
    """Has each call done at once, and notes it."""

    placeholder_has_left = True

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.edited = asyncio.Event()

    async def show_placeholder(self, text: str) -> None:
        self.calls.append("placeholder")

    async def placeholder_is_held_up(self) -> None:
        await asyncio.Event().wait()

    async def edit_placeholder(self, text: str) -> bool:
        self.calls.append(text)
        self.edited.set()
        return True

    async def keep(self, chunks: Any, buttons: Any) -> None:
        self.calls.append("keep")

    async def deliver(self) -> None:
        self.calls.append("deliver")


class LiveReplyTests(IsolatedAsyncioTestCase):
    async def test_an_answer_right_after_a_stage_waits_for_nothing(self):
        outbox = FakeOutbox()
        reply = LiveReply(cast(Outbox, outbox), edit_every_s=0.2)
        async with reply.shown():
            reply.stage("Reading")
            await outbox.edited.wait()

        closing = reply.close([])

        with pytest.raises(StopIteration):
            closing.send(None)  # to its end, and not to a sleep
        assert outbox.calls == ["placeholder", "Reading…", "keep", "deliver"]
