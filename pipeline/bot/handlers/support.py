"""A member's message becomes a run, and the run becomes the reply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

from telegram import CallbackQuery, Message, Update
from telegram.constants import ChatType

from pipeline.bot import texts
from pipeline.bot.access import visitor
from pipeline.bot.handlers.asks import Ask
from pipeline.bot.handlers.control import answer
from pipeline.bot.handlers.door import admitted
from pipeline.bot.messages import Chunk, formatted
from pipeline.bot.reply import LiveReply
from pipeline.bot.turn import Line, Turn, current_turn
from pipeline.cancelling import end
from pipeline.context import NotRun
from pipeline.engine import Engine
from pipeline.models import Member
from pipeline.models.runs import RunStatus, StepStatus
from pipeline.pictures import PictureRefused
from pipeline.records import Alert
from pipeline.reports import RunReport
from pipeline.runner import Origin

Callback: TypeAlias = Callable[[Update, Any], Coroutine[Any, Any, None]]
Words: TypeAlias = Callable[[Turn, Member], Awaitable[Line]]
Press: TypeAlias = Callable[[Turn, Member, CallbackQuery], Awaitable[str]]
Reader: TypeAlias = Callable[[Turn, Message], Awaitable[Ask | str]]


class Support:
    """Answers members, by a line or by a pipeline.

    What goes wrong unexpectedly is not caught here: the queue tries again, and tells the member
    when that has no end.
    """

    def __init__(self, engine: Engine, alert: Alert) -> None:
        self._engine = engine
        self._alert = alert

    def line(self, words: Words) -> Callback:
        """Return the callback for members' messages that a line answers."""
        return partial(self._handle, partial(self._say, words))

    def run(self, read: Reader) -> Callback:
        """Return the callback for members' messages that a pipeline answers."""
        return partial(self._handle, partial(self._answer, read))

    def press(self, words: Press) -> Callback:
        """Return the callback for members' presses of a button that a line answers."""
        return partial(self._pressed, words)

    async def _handle(
        self,
        reply: Callable[[Turn, Message, Member], Awaitable[None]],
        update: Update,
        _: Any,
    ) -> None:
        message, user, turn = update.effective_message, update.effective_user, current_turn()
        if message is None or user is None:
            return
        turn.was_handled = True
        member = await admitted(turn, message, user, self._alert)
        if member is None:
            await self._engine.stop(turn.hold, turn.row.pk)  # a run from before they were blocked
            return
        await reply(turn, message, member)

    async def _say(self, words: Words, turn: Turn, message: Message, member: Member) -> None:
        line = await words(turn, member)
        await turn.outbox.say(line.text, line.buttons)

    async def _pressed(self, words: Press, update: Update, _: Any) -> None:
        query, turn = update.callback_query, current_turn()
        if query is None:
            return
        turn.was_handled = True
        # At once, or the button keeps waiting; what is to be done may take longer.
        who = await visitor(query.from_user)
        await answer(query, who.refusal)
        if not who.refusal:
            await turn.outbox.say(await words(turn, who.member, query))

    async def _answer(self, read: Reader, turn: Turn, message: Message, member: Member) -> None:
        """Show that the message is being worked on, work on it, and reply."""
        ask = await read(turn, message)
        if isinstance(ask, str):
            if ask:
                await turn.outbox.say(ask)
            return
        reply = LiveReply(turn.outbox, is_private=message.chat.type == ChatType.PRIVATE)
        async with reply.shown():
            chunks = await self._unless_stopped(turn, self._chunks(turn, member, ask, reply))
        await reply.close(chunks)

    async def _unless_stopped(
        self, turn: Turn, work: Coroutine[Any, Any, list[Chunk]]
    ) -> list[Chunk]:
        """Return what the work comes to; or, once the member wants it to stop, a line that it did."""
        working = asyncio.create_task(work)
        stopped = asyncio.create_task(turn.claim.stop.wait())
        try:
            await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
        finally:
            await end([working, stopped])
        await self._engine.stop(turn.hold, turn.row.pk)
        return formatted(texts.NO_ANSWER_STOPPED)

    async def _chunks(self, turn: Turn, member: Member, ask: Ask, reply: LiveReply) -> list[Chunk]:
        """Return the answer: of a run that began before a restart, or of a new one."""
        update_id = turn.row.pk
        report = await self._engine.go_on(turn.hold, update_id, member, on_stage=reply.stage)
        if report is not None:
            return _words(report)
        try:
            report = await self._engine.answer(
                ask.pipeline,
                member,
                ask.text,
                image_b64=await ask.image_b64(),
                origin=Origin(update_id=update_id, token=turn.claim.token),
                on_stage=reply.stage,
            )
        except PictureRefused as refusal:
            return formatted(str(refusal))
        except NotRun as error:
            return formatted(f"⚠️ {error.member_line}")
        return _words(report)


def _words(report: RunReport) -> list[Chunk]:
    """Return the answer with what the member must know of it, or one line why there is none."""
    if report.status is RunStatus.CANCELLED:
        return formatted(texts.NO_ANSWER_STOPPED)
    if report.status is not RunStatus.OK:
        line = next((s.member_line for s in report.steps if s.status is StepStatus.FAILED), "")
        return formatted(texts.NO_ANSWER.format(line=line, incident=str(report.run_id)[:8]))
    notes = [
        texts.FELL_BACK.format(agent=step.agent, model=step.fell_back_to)
        for step in report.steps
        if step.fell_back_to
    ]
    return formatted("\n\n".join([report.answer, *notes]))
