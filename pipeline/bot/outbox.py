"""Replies to one update, stored and sent so that a restart neither loses nor repeats them.

The answer is an edit of the placeholder, which is safe to repeat. A separate message is marked
before and after it is sent; if only the first mark is found, the message is searched for in the
chat (`pipeline.bot.placeholders`). If the search is inconclusive, the message is not sent again:
instead, a line says that it may be missing, with a button that shows it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import stamina
from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone
from telegram import InputFile, MessageEntity
from telegram.error import BadRequest, Forbidden, NetworkError, TelegramError

from pipeline import crashpoints
from pipeline.bot import texts
from pipeline.bot.limiter import Ticket
from pipeline.bot.messages import Chunk
from pipeline.bot.patience import wait_before_next
from pipeline.bot.placeholders import ENDED, MessageGone, Placeholders
from pipeline.bot.refusals import (
    is_about_the_topic,
    is_too_long,
    never_arrived,
    takes_no_messages,
    where_it_can,
)
from pipeline.bot.static_reply import Buttons, StaticReply, as_lists, keyboard
from pipeline.journal.fencing import progressed
from pipeline.journal.text_store import clean
from pipeline.models.inbox import OutgoingMessage, ReplyKind, SendStatus

logger = logging.getLogger(__name__)

RESEND = "again:"  # prefix of the callback data of the button that shows a lost message
ARRIVES_WITHIN = timedelta(seconds=2)  # in which a killed process's message arrives, if at all
MAX_CHUNKS = 4  # longer answers are sent as a file, too
FILE_NAME = "answer.txt"  # the full text of an answer that also went out in messages
PART_NAME = "answer-{part}.txt"  # replaces a message that Telegram found too long
LATER = 1000  # row number of a message sent by `say_later`
LAST_WORD = 1001  # row number of the line about an update that failed for good


class Outbox(Placeholders):
    """The replies to one update; rows are written only while the task's lease is held."""

    async def has_text(self) -> bool:
        """Tell whether an earlier attempt has stored a reply."""
        return bool(await self._decided().aexists())

    async def say(self, reply: StaticReply | str) -> None:
        """Store a static reply and send it, in place of the placeholder if there is one."""
        reply = reply if isinstance(reply, StaticReply) else StaticReply(reply)
        await sync_to_async(self._keep)([(reply.text, [])], reply)
        await self.deliver()

    async def say_later(self, reply: StaticReply) -> None:
        """Send a separate message once, after the reply itself."""
        await sync_to_async(self._keep_later)(reply)
        await self._deliver_all(self._rows().filter(number=LATER))

    async def keep(self, chunks: Sequence[Chunk], buttons: Buttons = ()) -> None:
        """Store an answer before any of it is sent; a reply stored earlier is kept instead.

        The buttons go beneath the last chunk.
        """
        await sync_to_async(self._keep)(chunks, StaticReply("", buttons, kind=ReplyKind.ANSWER))
        crashpoints.reach("answer kept")

    async def deliver(self) -> None:
        """Send all stored messages not yet sent; return once Telegram has taken or refused them."""
        await self._deliver_all(self._decided())

    async def _deliver_all(self, rows: Any) -> None:
        for row in [row async for row in rows.order_by("number")]:
            if row.status in ENDED:
                continue
            try:
                await self._deliver_or_make_a_file(row)
            except (Forbidden, BadRequest) as error:
                await self._mark(row, SendStatus.REFUSED)
                await self._say_that_it_was_refused(row, error)

    async def _deliver_or_make_a_file(self, row: OutgoingMessage) -> None:
        """Deliver a message; if Telegram finds it too long, deliver it as a file."""
        try:
            await self._deliver(row)
        except BadRequest as error:
            if row.file_name or not is_too_long(error):
                raise
            await sync_to_async(self._make_a_file)(row)
            await self._deliver(row)

    async def _deliver(self, row: OutgoingMessage) -> None:
        entities = [MessageEntity.de_json(entity, self._bot) for entity in row.entities]
        is_text = not row.picture and not row.file_name
        if row.message_id is not None and is_text:
            try:
                await self._persistently_edit(
                    row.message_id, row.text, entities, reply_markup=keyboard(row.buttons)
                )
            except MessageGone:
                row.message_id = None
            else:
                await self._mark(row, SendStatus.SENT)
                return
        if row.status == SendStatus.SENDING and row.kind != ReplyKind.REFUSAL:
            await self._find_or_say(row, entities, is_over=True)
            return
        if row.message_id is not None and row.file_name:  # placeholder of a reply sent as a file
            with contextlib.suppress(MessageGone):
                await self._persistently_edit(row.message_id, texts.IN_FILE, [])
        ticket = Ticket(leaving=sync_to_async(partial(self._leave, row)))
        try:
            message_id = await self._persistently_send(
                row.text,
                entities,
                may_repeat=row.kind == ReplyKind.REFUSAL,
                picture=row.picture,
                file_name=row.file_name,
                reply_markup=keyboard(row.buttons),
                rate_limit_args=ticket,
            )
        except NetworkError as error:
            if isinstance(error, BadRequest | Forbidden):
                raise
            await self._find_or_say(row, entities, is_over=False)
            return
        crashpoints.reach("message sent")
        await self._mark(row, SendStatus.SENT, message_id=message_id)

    async def _find_or_say(
        self, row: OutgoingMessage, entities: Sequence[Any], *, is_over: bool
    ) -> None:
        """Search for a message that may have been sent before, and send it if it certainly was not.

        If the search is inconclusive, show a line with a button that shows the message. `is_over`
        is False while the earlier request may still be in flight; a message that is not found may
        then still arrive.
        """
        markup = keyboard(row.buttons)
        await asyncio.sleep(_left_of(ARRIVES_WITHIN, row.changed_at) if is_over else 0)
        ticket = Ticket(leaving=sync_to_async(partial(self._leave, row)), is_placeholder=True)
        marker = await self._persistently_send(
            texts.PLACEHOLDER, [], disable_notification=True, rate_limit_args=ticket
        )
        found, is_certain = await self._strays(row, marker, row.text, entities, reply_markup=markup)
        if found:
            await self._remove([*found[1:], marker])
            await self._mark(row, SendStatus.SENT, message_id=found[0])
        elif not (is_certain and is_over) and row.file_name == FILE_NAME:
            await self._remove([marker])  # the file's text was also sent as messages
            await self._mark(row, SendStatus.AMBIGUOUS)
        elif not (is_certain and is_over):
            button = keyboard([[(texts.SHOW_AGAIN, f"{RESEND}{row.pk}")]])
            await self._persistently_edit(marker, texts.CUT_OFF, [], reply_markup=button)
            await self._mark(row, SendStatus.AMBIGUOUS, message_id=marker)
        elif row.picture or row.file_name:
            await self._remove([marker])
            row.status = SendStatus.PENDING
            await self._deliver(row)
        else:
            await self._mark(row, SendStatus.SHOWN, message_id=marker)
            row.status, row.message_id = SendStatus.SHOWN, marker
            await self._deliver(row)

    async def _say_that_it_was_refused(self, row: OutgoingMessage, error: TelegramError) -> None:
        incident = uuid4().hex[:8]
        chat_id = self._update.chat_id
        logger.error("incident=%s chat=%s: a reply was refused: %s", incident, chat_id, error)
        reply = (texts.REST_REFUSED if row.number else texts.REFUSED).format(incident=incident)
        try:
            if row.message_id is not None:
                await self._edit(row.message_id, reply, [])
            elif not takes_no_messages(error):
                await self._send(reply, [])
        except (TelegramError, MessageGone) as unreachable:
            logger.warning("chat=%s: no line could be shown: %s", chat_id, unreachable)

    # --- Telegram -----------------------------------------------------------------------------

    async def _persistently_send(
        self, text: str, entities: Sequence[Any], *, may_repeat: bool = True, **options: Any
    ) -> int:
        """Send, retrying for as long as it takes; return the message id.

        Without `may_repeat`, a request is repeated only if it certainly had no effect.
        """

        def is_worth_another_try(error: Exception) -> bool | float:
            return (may_repeat or never_arrived(error)) and wait_before_next(error)

        async for attempt in stamina.retry_context(
            on=is_worth_another_try, attempts=None, timeout=None, wait_max=5.0
        ):
            with attempt:
                return await self._send(text, entities, **options)
        raise AssertionError("the loop above returns or raises")

    async def _send(
        self,
        text: str,
        entities: Sequence[Any],
        *,
        picture: str = "",
        file_name: str = "",
        **options: Any,
    ) -> int:
        if file_name:
            content = InputFile(text.encode(), filename=file_name)
            file = await where_it_can(
                self._target,
                lambda **target: self._bot.send_document(
                    self._chat_id, content, **target, **options
                ),
            )
            return file.message_id
        if picture:
            photo = InputFile(base64.b64decode(picture), filename="picture.png")
            shown = await where_it_can(
                self._target,
                lambda **target: self._bot.send_photo(
                    self._chat_id, photo, caption=text, **target, **options
                ),
            )
            return shown.message_id
        try:
            message = await where_it_can(
                self._target,
                lambda **target: self._bot.send_message(
                    self._chat_id, text, entities=entities, **target, **options
                ),
            )
        except BadRequest as error:
            if entities and "entit" in str(error).lower():
                return await self._send(text, [], **options)
            raise
        return message.message_id

    @property
    def _chat_id(self) -> int:
        if self._update.chat_id is None:
            raise BadRequest("an update without a chat cannot be replied to")
        return self._update.chat_id

    async def _persistently_edit(
        self, message_id: int, text: str, entities: Sequence[Any], **options: Any
    ) -> None:
        async for attempt in stamina.retry_context(
            on=wait_before_next, attempts=None, timeout=None, wait_max=5.0
        ):
            with attempt:
                await self._edit(message_id, text, entities, **options)

    async def _persistently_caption(self, message_id: int, caption: str, **options: Any) -> None:
        """Set the caption of a picture or file; Telegram refuses this for any other message."""
        async for attempt in stamina.retry_context(
            on=wait_before_next, attempts=None, timeout=None, wait_max=5.0
        ):
            with attempt:
                try:
                    await self._bot.edit_message_caption(
                        self._update.chat_id, message_id, caption=caption, **options
                    )
                except BadRequest as error:
                    if "not modified" not in str(error).lower():
                        raise

    async def _edit(
        self, message_id: int, text: str, entities: Sequence[Any], **options: Any
    ) -> None:
        try:
            await self._bot.edit_message_text(
                text, self._update.chat_id, message_id, entities=entities, **options
            )
        except BadRequest as error:
            reason = str(error).lower()
            if "not modified" in reason:
                return  # an earlier try arrived: the message shows the text already
            if entities and "entit" in reason:
                await self._edit(message_id, text, [], **options)
            elif "not found" in reason or "can't be edited" in reason or is_about_the_topic(error):
                raise MessageGone(str(error)) from error
            else:
                raise

    # --- rows ---------------------------------------------------------------------------------

    def _decided(self) -> Any:
        return self._rows().exclude(text="").exclude(number__gte=LATER)

    @transaction.atomic
    def _keep(self, chunks: Sequence[Chunk], reply: StaticReply) -> None:
        self._lease.assert_held()
        if self._decided().exists():
            return
        if reply.also is not None:
            reply.also()
        for number, (text, entities) in enumerate(chunks):
            kept: dict[str, Any] = {
                "text": clean(text),
                "entities": [entity.to_dict() for entity in entities],
                "buttons": as_lists(reply.buttons) if number == len(chunks) - 1 else [],
                "picture": reply.picture,
                "kind": reply.kind,
            }
            row, is_new = OutgoingMessage.objects.get_or_create(
                update=self._update, number=number, defaults=kept
            )
            if not is_new:  # the placeholder; without a message id it is searched for on delivery
                for name, value in kept.items():
                    setattr(row, name, value)
                if row.message_id is not None:
                    row.status = SendStatus.SHOWN
                row.save()
        if len(chunks) > MAX_CHUNKS:
            whole = clean("".join(text for text, _ in chunks))
            self._rows().create(
                update=self._update,
                number=len(chunks),
                text=whole,
                file_name=FILE_NAME,
                kind=reply.kind,
            )
        progressed(self._lease.token)

    @transaction.atomic
    def _make_a_file(self, row: OutgoingMessage) -> None:
        self._lease.assert_held()
        row.file_name = PART_NAME.format(part=row.number + 1)
        row.status = SendStatus.SHOWN if row.message_id else SendStatus.PENDING
        row.save(update_fields=["file_name", "status", "changed_at"])

    @transaction.atomic
    def _keep_later(self, reply: StaticReply) -> None:
        self._lease.assert_held()
        self._rows().get_or_create(
            update=self._update,
            number=LATER,
            defaults={
                "text": clean(reply.text),
                "buttons": as_lists(reply.buttons),
                "kind": reply.kind,
            },
        )

    @transaction.atomic
    def _leave(self, row: OutgoingMessage, newest_id: int) -> None:
        self._lease.assert_held()
        self._note_that_it_leaves(row, newest_id)

    async def _mark(
        self, row: OutgoingMessage, status: SendStatus, *, message_id: int | None = None
    ) -> None:
        await sync_to_async(self._write_mark)(row, status, message_id)

    @transaction.atomic
    def _write_mark(self, row: OutgoingMessage, status: SendStatus, message_id: int | None) -> None:
        self._lease.assert_held()
        row.status = status
        row.message_id = message_id or row.message_id
        row.save(update_fields=["status", "message_id", "changed_at"])
        if status in (SendStatus.SHOWN, *ENDED):
            progressed(self._lease.token)


def _left_of(span: timedelta, since: datetime) -> float:
    """Return how many seconds of a span are left: 0 to `span`, even if the clock was changed."""
    left = span - (timezone.now() - since)
    return max(timedelta(), min(left, span)).total_seconds()
