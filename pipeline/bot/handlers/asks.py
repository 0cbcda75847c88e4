"""What a message asks for: a pipeline and its inputs, or only a line in return."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from telegram import Document, Message, MessageEntity, PhotoSize
from telegram.error import BadRequest

from pipeline.bot import texts
from pipeline.bot.patience import patiently
from pipeline.bot.turn import Turn
from pipeline.models.inbox import TelegramUpdate
from pipeline.pictures import MAX_BYTES, TOO_LARGE, PictureRefused, prepared

FETCH_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A run that a member wants."""

    pipeline: str
    text: str
    picture: PhotoSize | Document | None = None

    async def image_b64(self) -> str | None:
        """Fetch the picture and return it as agents take it; None without one.

        Raises:
            PictureRefused: it is not a picture that can be read, or Telegram has it no more.
            TelegramError: Telegram does not hand it out now.
        """
        if self.picture is None:
            return None
        try:
            content = await patiently(partial(_download, self.picture), FETCH_WITHIN_S)
        except BadRequest:
            raise PictureRefused(texts.PICTURE_GONE) from None
        return await asyncio.to_thread(prepared, content)


async def in_text(turn: Turn, message: Message) -> Ask | str:
    """Read a text, or a command with one; a line instead of an Ask is all that there is to say."""
    text = _words(message)
    return Ask(pipeline="support", text=text) if text else texts.NOTHING_TO_DO


async def in_picture(turn: Turn, message: Message) -> Ask | str:
    """Read a picture, sent as a photo or as a file; of an album the first one, "" for the others."""
    number = await _number_in_album(turn.row)
    if number > 1:
        return texts.ONE_PICTURE if number == 2 else ""
    picture = message.photo[-1] if message.photo else message.document
    if picture is not None and (picture.file_size or 0) > MAX_BYTES:  # do not even fetch it
        return TOO_LARGE
    return Ask(pipeline="support_photo", text=_words(message), picture=picture)


async def _number_in_album(row: TelegramUpdate) -> int:
    if not row.album:
        return 1
    of_album = TelegramUpdate.objects.filter(chat_id=row.chat_id, album=row.album)
    return await of_album.filter(pk__lte=row.pk).acount()


def _words(message: Message) -> str:
    """Return what a message says, without a command at its beginning."""
    text = message.text or message.caption or ""
    first = next(iter(message.entities or message.caption_entities), None)
    if first is not None and first.type == MessageEntity.BOT_COMMAND and first.offset == 0:
        text = text[first.length :]  # a command is ASCII, so its units are characters
    return text.strip()


async def _download(picture: PhotoSize | Document) -> bytes:
    return bytes(await (await picture.get_file()).download_as_bytearray())
