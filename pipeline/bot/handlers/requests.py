"""Turns a message into a request: a pipeline with its inputs, or a static reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from asgiref.sync import sync_to_async
from telegram import Document, Message, MessageEntity, MessageOriginUser, PhotoSize
from telegram.constants import ChatType
from telegram.error import BadRequest

from agents.base import Inputs
from pipeline.bot import texts
from pipeline.bot.handlers.addressed import is_addressed, without_mention
from pipeline.bot.handlers.message_grouping import joined
from pipeline.bot.patience import patiently
from pipeline.bot.update_context import UpdateContext
from pipeline.models import Member
from pipeline.models.inbox import TelegramUpdate
from pipeline.people.conversation import conversation_of, run_behind
from pipeline.people.pictures import MAX_BYTES, TOO_MANY_BYTES, PictureRefused, aprepared

FETCH_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A member's request for a run: the pipeline, its inputs and a picture."""

    pipeline: str
    question: Inputs
    picture: PhotoSize | Document | None = None  # not downloaded yet

    async def whole_question(self) -> Inputs:
        """Download the picture, if there is one, and return the inputs with it as base64 JPEG.

        Raises:
            PictureRefused: the picture cannot be read, or Telegram does not have it any more.
            TelegramError: Telegram does not deliver it now.
        """
        if self.picture is None:
            return self.question
        try:
            content = await patiently(partial(_download, self.picture), FETCH_WITHIN_S)
        except BadRequest:
            raise PictureRefused(texts.PICTURE_GONE) from None
        return replace(self.question, image_b64=await aprepared(content))


@dataclass(frozen=True, slots=True)
class Gathering:
    """A request that is known once the messages sent together with this one have come.

    `read` waits for them; it returns an Ask, or a text that is the whole reply.
    """

    read: Callable[[], Awaitable[Ask | str]]


async def in_command(context: UpdateContext, message: Message, member: Member) -> Ask | str:
    """Parse a /support command into an Ask, or return a text that is the whole reply."""
    return await _ask(context, message, [message])


async def in_message(
    context: UpdateContext, message: Message, member: Member
) -> Ask | Gathering | str:
    """Parse a message with text, a picture or forwarded content into an Ask, or return a reply.

    A picture may be sent as a photo or as a file; of an album, only the first message that
    addresses the bot is read. In a private chat, messages sent together are combined.

    Returns:
        A request, or a text that is the whole reply; "" if another message's reply answers this
        one.
    """
    if context.row.joined_to_id is not None:
        return ""
    number = await _number_in_album(context.row, message)
    if number > 1:
        return texts.ONE_PICTURE if number == 2 else ""
    if message.chat.type == ChatType.PRIVATE:
        return Gathering(partial(_ask_of_group, context, message))
    return await _ask(context, message, [message])


async def _ask_of_group(context: UpdateContext, message: Message) -> Ask | str:
    return await _ask(context, message, await joined(context.row, context.lease, message))


async def in_other_content(context: UpdateContext, message: Message, member: Member) -> Ask | str:
    """Return the reply to unsupported content such as voice messages; once per album, then ""."""
    return texts.NOT_UNDERSTOOD if await _number_in_album(context.row, message) == 1 else ""


async def _ask(context: UpdateContext, message: Message, together: list[Message]) -> Ask | str:
    own = [words_of(one) for one in together if one.forward_origin is None]
    passed_on = [_quoted(one) for one in together if one.forward_origin is not None]
    picture = next((found for one in together if (found := _picture(one)) is not None), None)
    if picture is not None and (picture.file_size or 0) > MAX_BYTES:  # refuse before downloading
        return TOO_MANY_BYTES
    question = Inputs(
        user_message="\n\n".join(filter(None, own)),
        forwarded="\n\n".join(filter(None, passed_on)),
        conversation=await _before(context, message),
    )
    pipeline = _pipeline_for(question, has_picture=picture is not None)
    if not pipeline:
        return texts.NOTHING_TO_DO
    return Ask(pipeline=pipeline, question=question, picture=picture)


def _pipeline_for(question: Inputs, *, has_picture: bool) -> str:
    if has_picture:
        return "support_photo"
    if question.user_message:
        return "support"
    return "support_forwarded" if question.forwarded else ""


async def _before(context: UpdateContext, message: Message) -> str:
    """Return the context of a reply: the conversation behind an answer of the bot, or the quote.

    Returns "" if the message is not a reply.
    """
    original = message.reply_to_message
    row = context.row
    if original is None or row.chat_id is None or row.user_id is None:
        return ""
    run = await sync_to_async(run_behind)(row.chat_id, row.user_id, original.message_id)
    if run is not None:
        return await sync_to_async(conversation_of)(run)
    quoted = original.text or original.caption or ""
    return f"The salesperson replies to: {quoted}" if quoted else ""


def _picture(message: Message) -> PhotoSize | Document | None:
    return message.photo[-1] if message.photo else message.document


def _quoted(message: Message) -> str:
    """Return "author: text" for a forwarded message, as far as Telegram tells; "" without text."""
    words = words_of(message)
    origin = message.forward_origin
    who = getattr(origin, "sender_user_name", "")
    if isinstance(origin, MessageOriginUser):
        who = origin.sender_user.full_name
    return f"{who or 'Somebody'}: {words}" if words else ""


async def _number_in_album(row: TelegramUpdate, message: Message) -> int:
    """Return the position, from 1, of a message among those of its album that address the bot.

    In a group, possibly only the message with the caption does, and it can be any of the album.
    Returns 1 for a message outside an album.
    """
    if not row.album:
        return 1
    of_album = TelegramUpdate.objects.filter(chat_id=row.chat_id, album=row.album)
    bot = message.get_bot()
    return 1 + sum([is_addressed(one, bot) async for one in of_album.filter(pk__lt=row.pk)])


def words_of(message: Message) -> str:
    """Return a message's text or caption, without a leading command and mentions of the bot."""
    text = without_mention(message, message.text or message.caption or "")
    first = next(iter(message.entities or message.caption_entities), None)
    if first is not None and first.type == MessageEntity.BOT_COMMAND and first.offset == 0:
        text = text[first.length :]  # a command is ASCII, so UTF-16 units equal characters
    return text.strip()


async def _download(picture: PhotoSize | Document) -> bytes:
    return bytes(await (await picture.get_file()).download_as_bytearray())
