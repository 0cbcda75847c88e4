"""The placeholder of an answer, and the recovery of messages whose ids were lost in a crash.

A message's id is known only once Telegram has answered. A process that is killed before it stores
the id leaves a message that no row points to. But ids are ascending, in one sequence for all of a
bot's private chats and in one for each group, and the newest known id is stored before a message is
sent. So the next attempt sends a new message, and looks for the lost one among the few ids in
between that no row has: an edit succeeds only on the bot's own message in this very chat.
https://core.telegram.org/api/updates#message-related-event-sequences
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from telegram import Bot
from telegram.error import BadRequest, RetryAfter, TelegramError

from pipeline import crashpoints
from pipeline.bot.limiter import DROPPED_AFTER_S, Rank, Ticket
from pipeline.bot.static_reply import ReplyTarget
from pipeline.journal.fencing import Lease, Superseded, progressed
from pipeline.models.inbox import (
    OutgoingMessage,
    SendStatus,
    SentAlert,
    Task,
    TaskKind,
    TaskStatus,
    TelegramUpdate,
)

logger = logging.getLogger(__name__)

# Lost messages found so far: (group id, or 0 for all private chats; message id) to the update that
# they reply to. Searches for other updates skip them; a search for the same update does not,
# because a reply that was found but could not be stored must be found again.
Found = dict[tuple[int, int], int]

NOTICE_WITHIN_S = 5.0  # by then, a placeholder that another task is sending has arrived
POLL_INTERVAL_S = 0.1
MAX_IDS = 500  # candidate ids for a lost message; an outage may leave more
MAX_TRIES = 12  # edits per search for lost messages: a burst that Telegram tolerates
MAX_UPDATES = 5000  # later updates to look at; a long outage may leave more
ENDED = (SendStatus.SENT, SendStatus.REFUSED, SendStatus.AMBIGUOUS)


class MessageGone(Exception):
    """The message to edit does not exist any more, or never did."""


class _Taken(Exception):
    """Another task has the placeholder by now, or it is no longer needed."""


class Placeholders(ABC):
    """Base of the outbox: the placeholder message, which later becomes the answer."""

    def __init__(
        self,
        bot: Bot,
        update: TelegramUpdate,
        target: ReplyTarget,
        lease: Lease,
        *,
        found: Found | None = None,
    ) -> None:
        """`found` is shared by the process: lost messages that its searches have found so far."""
        self._bot = bot
        self._update = update
        self._target = target
        self._lease = lease
        self._ticket = Ticket(rank=Rank.PROGRESS, is_placeholder=True)
        self._found: Found = {} if found is None else found

    @property
    def placeholder_has_left(self) -> bool:
        """Whether the placeholder has been sent; it is then waited for instead of cancelled."""
        return self._ticket.has_left

    async def placeholder_is_held_up(self) -> None:
        """Return once the placeholder has to wait, for other calls or because Telegram asks to."""
        await self._ticket.is_held_up.wait()

    async def show_placeholder(self, line: str) -> None:
        """Show a placeholder in the chat, unless an earlier attempt or a notice has shown one.

        Raises:
            Superseded: another worker holds the task by now; this placeholder was deleted.
        """
        while True:
            row = await sync_to_async(self._mine)()
            if row is not None and row.status == SendStatus.SENDING:
                row = await self._shown_by_another(row)
            if row is not None and (row.message_id is not None or row.text):
                return
            leaving = partial(self._leave_as_placeholder, row)
            self._ticket.leaving = sync_to_async(leaving)
            with contextlib.suppress(_Taken):
                message_id = await self._persistently_send(line, [], rate_limit_args=self._ticket)
                break
        crashpoints.reach("placeholder sent")
        if row is not None:
            await row.arefresh_from_db()
            progress = Ticket(rank=Rank.PROGRESS)
            strays, _ = await self._strays(row, message_id, line, [], rate_limit_args=progress)
            await row.arefresh_from_db()
            # Must happen before the id is stored: after that, no attempt looks for strays any more.
            await self._remove(strays if row.message_id is None else [])
        try:
            is_mine = await sync_to_async(self._show)(message_id)
        except Superseded:
            await self._remove([message_id])  # another attempt shows its own placeholder
            raise
        if not is_mine:  # a notice has shown one since this one was sent
            await self._remove([message_id])

    async def announce(self, line: str, *, rank: Rank, within_s: float) -> bool:
        """Show the placeholder of a queued message, for a notice task.

        Returns:
            False if the message is not queued any more, has a placeholder already, or if the call
            would have to wait for longer than `within_s` seconds.
        """
        leaving = sync_to_async(self._leave_as_notice)
        ticket = Ticket(rank=rank, within_s=within_s, leaving=leaving, is_placeholder=True)
        try:
            message_id = await self._send(line, [], rate_limit_args=ticket)
        except (RetryAfter, _Taken):
            return False
        mine = self._rows().filter(number=0, message_id=None, text="")
        if not await mine.aupdate(status=SendStatus.SHOWN, message_id=message_id):
            await self._remove([message_id])
        return True

    async def take_back_placeholder(self, line: str) -> None:
        """Delete the placeholder, if there is one: another message's reply answers this one too."""
        row = await sync_to_async(self._mine)()
        if row is not None and row.status == SendStatus.SENDING:
            await self.show_placeholder(line)  # removes a lost one, and stores the new one's id
            row = await sync_to_async(self._mine)()
        if row is not None and row.message_id is not None and not row.text:
            await self._remove([row.message_id])

    async def edit_placeholder(self, line: str) -> bool:
        """Show a temporary line in the placeholder; False if there is no placeholder.

        Raises:
            TelegramError: the line cannot be shown, or would have to wait.
        """
        row = await sync_to_async(self._mine)()
        if row is None or row.message_id is None:
            return False
        ticket = Ticket(rank=Rank.PROGRESS, within_s=DROPPED_AFTER_S)
        await self._edit(row.message_id, line, [], rate_limit_args=ticket)
        return True

    # --- lost messages ---------------------------------------------------------------------------

    async def _strays(
        self, row: OutgoingMessage, before: int, text: str, entities: Sequence[Any], **options: Any
    ) -> tuple[list[int], bool]:
        """Find the bot's messages in this chat that no row has, by editing the text into them.

        Tries only ids from between the row's first send and the message `before`, and stops when it
        has found as many as there were earlier sends.

        Returns:
            The ids of the messages found, which now show the text, and whether the search was
            complete.
        """
        ids, is_certain = await sync_to_async(self._unknown_ids)(row, before)
        # A lost alert in this chat is the bot's own message, too; a periodic job sends it again.
        alerts = SentAlert.objects.filter(chat_id=str(self._chat_id), message_id=None)
        again = row.resent_after
        most = MAX_IDS if again is None else len(again) + await alerts.acount()
        counted_in = min(self._chat_id, 0)  # all private chats share one sequence of ids
        found: list[int] = []
        tries = 0
        for message_id in ids:
            if len(found) == most:
                break
            if self._found.get((counted_in, message_id), self._update.pk) != self._update.pk:
                continue
            if tries == MAX_TRIES:
                is_certain = False
                break
            tries += 1
            try:
                if row.picture or row.file_name:
                    caption = text if row.picture else ""
                    await self._persistently_caption(message_id, caption, **options)
                else:
                    await self._persistently_edit(message_id, text, entities, **options)
            except (MessageGone, BadRequest):
                continue  # not the bot's own message, or of another kind
            found.append(message_id)
            self._found[counted_in, message_id] = self._update.pk
        logger.info("chat=%s: %s lost of %s ids", self._update.chat_id, len(found), len(ids))
        return found, is_certain

    def _unknown_ids(self, row: OutgoingMessage, before: int) -> tuple[list[int], bool]:
        """Return the ids that a lost message may have, likely ones first, and whether they are all.

        A message gets one of the first ids after the one that was newest when it was sent, because
        few other messages are in flight at that moment.
        """
        after, chat_id = row.sent_after or self._target.message_id or 0, self._chat_id
        if not 0 < after < before:
            return [], False
        sent = OutgoingMessage.objects.filter(message_id__gt=after, message_id__lt=before)
        came = TelegramUpdate.objects.filter(kind="message", pk__gt=self._update.pk)
        if chat_id < 0:
            sent, came = sent.filter(update__chat_id=chat_id), came.filter(chat_id=chat_id)
        else:
            sent, came = sent.filter(update__chat_id__gt=0), came.filter(chat_id__gt=0)
        alerts = SentAlert.objects.filter(chat_id=str(chat_id), message_id__gt=after)
        raws = came.order_by("pk").values_list("raw", flat=True)[:MAX_UPDATES]
        taken = {
            *sent.values_list("message_id", flat=True),
            *alerts.values_list("message_id", flat=True),
            *map(_message_id, raws),
        }
        unknown = (number for number in range(after + 1, before) if number not in taken)
        ids = list(islice(unknown, MAX_IDS + 1))
        # The last entry is left out: it belongs to the message with the id `before`.
        left_at = [after, *(row.resent_after or [])[:-1]]
        return _likely_first(ids[:MAX_IDS], left_at), len(ids) <= MAX_IDS

    async def _remove(self, message_ids: Sequence[int]) -> None:
        for message_id in message_ids:
            with contextlib.suppress(TelegramError):
                await self._bot.delete_message(self._chat_id, message_id)

    async def _shown_by_another(self, row: OutgoingMessage) -> OutgoingMessage:
        """Wait up to 5 s for the placeholder that a notice task is sending; return the fresh row.

        The row has no message id if the notice task failed or its process was killed.
        """
        announcing = Task.objects.filter(
            update=self._update, kind=TaskKind.NOTICE, status=TaskStatus.RUNNING
        )
        ends_at = time.monotonic() + NOTICE_WITHIN_S
        while row.message_id is None and await announcing.aexists():
            if time.monotonic() > ends_at:
                break
            await asyncio.sleep(POLL_INTERVAL_S)
            await row.arefresh_from_db()
        await row.arefresh_from_db()  # the id may have been stored just before the task ended
        return row

    # --- rows ------------------------------------------------------------------------------------

    def _rows(self) -> Any:
        return OutgoingMessage.objects.filter(update=self._update)

    @transaction.atomic
    def _mine(self) -> OutgoingMessage | None:
        self._lease.assert_held()
        row: OutgoingMessage | None = self._rows().filter(number=0).first()
        return row

    @transaction.atomic
    def _leave_as_placeholder(self, seen: OutgoingMessage | None, newest_id: int) -> None:
        self._lease.assert_held()
        row, is_new = self._open(newest_id)
        if (seen is None and not is_new) or row.message_id is not None:
            raise _Taken  # a notice task was faster
        if not is_new:
            self._note_that_it_leaves(row, newest_id)

    @transaction.atomic
    def _leave_as_notice(self, newest_id: int) -> None:
        self._lease.assert_held()
        waiting = Task.objects.filter(
            update=self._update, kind=TaskKind.MESSAGE, status=TaskStatus.READY
        )
        if not waiting.exists() or not self._open(newest_id)[1]:
            raise _Taken

    def _open(self, newest_id: int) -> tuple[OutgoingMessage, bool]:
        defaults: dict[str, Any] = {
            "status": SendStatus.SENDING,
            "sent_after": newest_id or None,
            "resent_after": [],
        }
        return OutgoingMessage.objects.get_or_create(
            update=self._update, number=0, defaults=defaults
        )

    def _note_that_it_leaves(self, row: OutgoingMessage, newest_id: int) -> None:
        """Mark a message as being sent.

        If an earlier send of it may be lost, the start of the search for it stays unchanged.
        """
        if row.status != SendStatus.SENDING:
            row.sent_after, row.resent_after = newest_id or None, []
        elif row.resent_after is not None:
            row.resent_after = [*row.resent_after, newest_id]
        row.status = SendStatus.SENDING
        row.save(update_fields=["status", "sent_after", "resent_after", "changed_at"])

    @transaction.atomic
    def _show(self, message_id: int) -> bool:
        """Store the placeholder's message id; False if another placeholder is stored already."""
        self._lease.assert_held()
        unshown = self._rows().filter(number=0, message_id=None)
        is_mine = bool(unshown.update(status=SendStatus.SHOWN, message_id=message_id))
        progressed(self._lease.token)
        return is_mine

    # --- implemented by the outbox ---------------------------------------------------------------

    @property
    @abstractmethod
    def _chat_id(self) -> int: ...

    @abstractmethod
    async def _send(self, text: str, entities: Sequence[Any], **options: Any) -> int: ...

    @abstractmethod
    async def _persistently_send(
        self, text: str, entities: Sequence[Any], **options: Any
    ) -> int: ...

    @abstractmethod
    async def _edit(
        self, message_id: int, text: str, entities: Sequence[Any], **options: Any
    ) -> None: ...

    @abstractmethod
    async def _persistently_caption(
        self, message_id: int, caption: str, **options: Any
    ) -> None: ...

    @abstractmethod
    async def _persistently_edit(
        self, message_id: int, text: str, entities: Sequence[Any], **options: Any
    ) -> None: ...


def _likely_first(ids: Sequence[int], left_at: Sequence[int]) -> list[int]:
    """Sort ascending ids by their distance from the closest preceding id in `left_at`."""
    began = sorted(bisect.bisect_right(ids, newest_id) for newest_id in left_at)

    def behind(place: int) -> int:
        return place - began[bisect.bisect_right(began, place) - 1]

    return [ids[place] for place in sorted(range(len(ids)), key=behind)]


def _message_id(raw: str) -> object:
    message = json.loads(raw).get("message")
    return message.get("message_id") if isinstance(message, dict) else None
