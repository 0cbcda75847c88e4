"""A member's message becomes a run, and the run becomes the reply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

from telegram import Message, Update, User

from pipeline.bot import texts
from pipeline.bot.handlers.asks import Ask
from pipeline.bot.handlers.door import admitted, incident, say_broken
from pipeline.bot.lanes import Lanes
from pipeline.bot.messages import Chunk, formatted
from pipeline.bot.reply import LiveReply
from pipeline.context import NoPurse
from pipeline.engine import Engine
from pipeline.models import Member
from pipeline.models.runs import RunStatus, Source, StepStatus
from pipeline.pictures import PictureRefused
from pipeline.records import Alert
from pipeline.runner import RunReport

Callback: TypeAlias = Callable[[Update, Any], Coroutine[Any, Any, None]]
MemberHandler: TypeAlias = Callable[[Message, Member], Awaitable[None]]
Reader: TypeAlias = Callable[[Message], Ask | str]


class Support:
    """Answers members: at once where it can, by pipelines in the order of the chat."""

    def __init__(self, engine: Engine, alert: Alert) -> None:
        self._engine = engine
        self._alert = alert
        self._lanes = Lanes()

    def at_once(self, handler: MemberHandler) -> Callback:
        """Return the callback for members' messages that need no run."""
        return _guarded(partial(self._handle, handler))

    def in_turn(self, read: Reader) -> Callback:
        """Return the callback for members' messages that pipelines answer."""
        return _guarded(partial(self._answer, read))

    async def _handle(self, handler: MemberHandler, message: Message, user: User) -> None:
        member = await admitted(message, user, self._alert)
        if member is not None:
            await handler(message, member)

    async def _answer(self, read: Reader, message: Message, user: User) -> None:
        """Reply at once, then run when all earlier messages of the chat have been answered."""
        lane = self._lanes.of(message)
        async with lane.door:
            asked = await self._asked(read, message, user)
            if asked is None:
                return
            reply = LiveReply(message)
            await reply.open(texts.IN_LINE if lane.turn.locked() else texts.PLACEHOLDER)
        try:
            async with lane.turn:  # asked for with nothing in between: see Lane
                await self._run(*asked, reply)
        except PictureRefused as refusal:
            await reply.fail(str(refusal))
        except NoPurse as error:
            await reply.fail(f"⚠️ {error.member_line}")
        except asyncio.CancelledError:
            await reply.fail(texts.CUT_OFF if reply.holds_answer else texts.RESTARTING)
            raise
        except Exception as error:  # noqa: BLE001 - the edge: `incident` logs it
            line = texts.REST_LOST if reply.holds_answer else texts.BROKEN
            await reply.fail(line.format(incident=incident(error, message.chat_id)))

    async def _asked(self, read: Reader, message: Message, user: User) -> tuple[Member, Ask] | None:
        """Return who asks for what; None when a line in return is all, and has been sent."""
        member = await admitted(message, user, self._alert)
        if member is None:
            return None
        ask = read(message)
        if isinstance(ask, Ask):
            return member, ask
        if ask:
            await message.reply_text(ask)
        return None

    async def _run(self, member: Member, ask: Ask, reply: LiveReply) -> None:
        report = await self._engine.answer(
            ask.pipeline,
            member,
            ask.text,
            source=Source.TELEGRAM,
            image_b64=await ask.image_b64(),
            on_stage=reply.stage,
        )
        await reply.close(_words(report))


def _guarded(handler: Callable[[Message, User], Awaitable[None]]) -> Callback:
    """Return the handler as the library calls it; whatever goes wrong, the sender hears of it."""

    async def guarded(update: Update, _: Any) -> None:
        message, user = update.effective_message, update.effective_user
        if message is None or user is None:
            return
        try:
            await handler(message, user)
        except Exception as error:  # noqa: BLE001 - the edge: `say_broken` logs it
            await say_broken(message, error)

    return guarded


def _words(report: RunReport) -> list[Chunk]:
    """Return the answer with what the member must know of it, or one line why there is none."""
    if report.status is not RunStatus.OK:
        line = next((s.member_line for s in report.steps if s.status is StepStatus.FAILED), "")
        return formatted(texts.NO_ANSWER.format(line=line, incident=str(report.run_id)[:8]))
    notes = [
        texts.FELL_BACK.format(agent=step.agent, model=step.fell_back_to)
        for step in report.steps
        if step.fell_back_to
    ]
    return formatted("\n\n".join([report.answer, *notes]))
