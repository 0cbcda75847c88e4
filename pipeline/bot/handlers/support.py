"""A member's message becomes a run, and the run becomes the reply."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from telegram import Message, Update
from telegram.constants import ChatType
from telegram.error import TelegramError

from agents.llm.keys import scrub
from pipeline.bot import texts
from pipeline.bot.access import visitor
from pipeline.bot.messages import Chunk, formatted
from pipeline.bot.reply import LiveReply
from pipeline.context import NoPurse
from pipeline.engine import Engine
from pipeline.models import Member
from pipeline.models.runs import RunStatus, Source, StepStatus
from pipeline.pictures import MAX_BYTES, TOO_LARGE, PictureRefused, prepared
from pipeline.records import Alert
from pipeline.runner import RunReport

logger = logging.getLogger(__name__)

MemberHandler = Callable[[Message, Member], Awaitable[None]]


class Support:
    """Answers members by pipelines."""

    def __init__(self, engine: Engine, alert: Alert) -> None:
        self._engine = engine
        self._alert = alert

    def for_members(
        self, handler: MemberHandler
    ) -> Callable[[Update, Any], Coroutine[Any, Any, None]]:
        """Return the handler behind the door: strangers get one line, keys are not read."""

        async def guarded(update: Update, _: Any) -> None:
            # No request begins or ends here, so nobody else drops a connection that has died.
            await sync_to_async(close_old_connections)()
            message, user = update.effective_message, update.effective_user
            if message is None or user is None:
                return
            who = await visitor(user)
            if who.is_new and who.refusal:
                self._alert(f"{who.member} (Telegram id {user.id}) asks to be let in.")
            if who.refusal:
                await message.reply_text(who.refusal)
            elif _holds_key(message):
                await _put_away(message)
            else:
                await handler(message, who.member)

        return guarded

    async def answer_command(self, message: Message, member: Member) -> None:
        """Answer `/support text`."""
        text = (message.text or "").partition(" ")[2].strip()
        if text:
            await self._answer(message, member, "support", text)
        else:
            await message.reply_text(texts.NOTHING_TO_DO)

    async def answer_text(self, message: Message, member: Member) -> None:
        """Answer plain text in a private chat."""
        await self._answer(message, member, "support", message.text or "")

    async def answer_photo(self, message: Message, member: Member) -> None:
        """Answer a picture, with its caption or without."""
        try:
            photo = message.photo[-1]
            if (photo.file_size or 0) > MAX_BYTES:  # do not even fetch it
                raise PictureRefused(TOO_LARGE)
            content = await (await photo.get_file()).download_as_bytearray()
            image_b64 = await asyncio.to_thread(prepared, bytes(content))
        except PictureRefused as refusal:
            await message.reply_text(str(refusal))
            return
        await self._answer(
            message, member, "support_photo", message.caption or "", image_b64=image_b64
        )

    async def answer_other(self, message: Message, member: Member) -> None:
        """Answer what is neither text nor picture."""
        await message.reply_text(texts.NOT_UNDERSTOOD)

    async def _answer(
        self,
        message: Message,
        member: Member,
        pipeline: str,
        text: str,
        image_b64: str | None = None,
    ) -> None:
        reply = LiveReply(message)
        await reply.open()
        try:
            report = await self._engine.answer(
                pipeline,
                member,
                text,
                source=Source.TELEGRAM,
                image_b64=image_b64,
                on_stage=reply.stage,
            )
            await reply.close(_words(report))
        except NoPurse as error:
            await reply.fail(f"⚠️ {error.member_line}")
        except asyncio.CancelledError:
            await reply.fail(texts.RESTARTING)
            raise
        except Exception:
            incident = uuid4().hex[:8]
            logger.exception("incident=%s chat=%s: no answer", incident, message.chat_id)
            await reply.fail(texts.BROKEN.format(incident=incident))


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


def _holds_key(message: Message) -> bool:
    """Tell whether a message looks like an API key; forwarded texts count, too."""
    text = f"{message.text or ''} {message.caption or ''}"
    return scrub(text) != text


async def _put_away(message: Message) -> None:
    """Delete a message that holds a key and say so; what it said goes nowhere."""
    done = texts.NOT_DELETED
    if message.chat.type == ChatType.PRIVATE:
        try:
            await message.delete()
            done = texts.DELETED
        except TelegramError:
            logger.warning("chat=%s: a message with a key could not be deleted", message.chat_id)
    await message.chat.send_message(texts.LOOKS_LIKE_A_KEY.format(deleted=done))
