"""Handlers that bypass a chat's queue: /cancel, "Show it here" of a lost message, old buttons."""

from __future__ import annotations

import json
import logging
from functools import partial

from asgiref.sync import sync_to_async
from django.utils import timezone
from telegram import CallbackQuery, InputFile, Message, MessageEntity, Update
from telegram.error import BadRequest

from pipeline.bot import texts
from pipeline.bot.intake import lane_of
from pipeline.bot.outbox import RESEND
from pipeline.bot.presses import answer
from pipeline.bot.static_reply import StaticReply, keyboard
from pipeline.bot.update_context import UpdateContext
from pipeline.models import Member
from pipeline.models.inbox import OutgoingMessage
from pipeline.models.members import Access
from pipeline.queue.task_store import request_stop
from pipeline.school import training

logger = logging.getLogger(__name__)


async def cancel(context: UpdateContext, member: Member) -> StaticReply:
    """Stop the member's oldest open message in this chat and topic, and leave the open exercise."""
    message = json.loads(context.row.raw)["message"]
    # The lane of ordinary messages: without its entities, /cancel does not count as a command.
    lane = lane_of({"message": {**message, "entities": []}})
    is_stopping = await sync_to_async(request_stop)(message["chat"]["id"], member.telegram_id, lane)
    exercise = None
    if context.row.chat_id == context.row.user_id:
        exercise = await sync_to_async(training.open_exercise)(context.row, now=timezone.now())
    if exercise is None:
        return StaticReply(texts.STOPPING if is_stopping else texts.NOTHING_TO_STOP)
    said = f"{texts.STOPPING} {texts.EXERCISE_LEFT_TOO}" if is_stopping else texts.EXERCISE_LEFT
    return StaticReply(said, also=partial(training.leave, member))


async def resend(update: Update, context: UpdateContext) -> None:
    """Replace the note about a lost message with the message itself, on every press."""
    query = update.callback_query
    if query is None:
        return
    context.was_handled = True
    row = await _asked_for(query)
    await answer(query, "" if row else texts.NOTHING_TO_SHOW)
    if row is None:
        return
    if row.file_name:
        await _resend_file(query, row)
        return
    entities = [MessageEntity.de_json(entity, query.get_bot()) for entity in row.entities]
    try:
        await query.edit_message_text(
            row.text, entities=entities, reply_markup=keyboard(row.buttons)
        )
    except BadRequest as error:  # the message is shown already, or the chat is gone
        logger.info("a message could not be shown again: %s", error)


async def _resend_file(query: CallbackQuery, row: OutgoingMessage) -> None:
    """Send a lost file beneath the note about it: Telegram cannot edit a text into a file."""
    if not isinstance(query.message, Message):  # too old: Telegram no longer provides the message
        return
    content = InputFile(row.text.encode(), filename=row.file_name)
    try:
        await query.message.reply_document(content, reply_markup=keyboard(row.buttons))
    except BadRequest as error:
        logger.info("a file could not be sent again: %s", error)


async def press_old_button(update: Update, context: UpdateContext) -> None:
    """Answer a press on an earlier release's button; unanswered, its loading state would stay."""
    query = update.callback_query
    if query is not None:
        context.was_handled = True
        await answer(query, texts.OLD_BUTTON)


async def _asked_for(query: CallbackQuery) -> OutgoingMessage | None:
    """Return the lost message that a press asks for; None unless it was meant for that person."""
    number = (query.data or "").removeprefix(RESEND)
    if query.message is None or not number.isdecimal() or len(number) > 18:
        return None
    return await OutgoingMessage.objects.filter(
        pk=int(number),
        update__chat_id=query.message.chat.id,
        update__user_id=query.from_user.id,
        update__user_id__in=Member.objects.filter(access=Access.APPROVED).values("telegram_id"),
    ).afirst()
