"""The queue of updates for the bots, with Telegram's acknowledgement rules.

All bots share one queue, because a sandbox normally has one bot. Each bot has its own id below
which all updates are acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from observatory.sandbox.journal import Journal
from observatory.sandbox.web import Clock, Json, Refused

logger = logging.getLogger(__name__)

MESSAGE_LIFETIME_S = 86_400
CALLBACK_LIFETIME_S = 150
EAGER_REPEAT_S = 0.5  # a repeated offset within this time gets only one update
MAX_TIMEOUT_S = 50
KINDS_ON_REQUEST = frozenset({"chat_member", "message_reaction", "message_reaction_count"})
CONFLICT_POLLER = (
    "Conflict: terminated by other getUpdates request;"
    " make sure that only one bot instance is running"
)
CONFLICT_WEBHOOK_SET = "Conflict: terminated by setWebhook request"
CONFLICT_WEBHOOK = (
    "Conflict: can't use getUpdates method while webhook is active;"
    " use deleteWebhook to delete the webhook first"
)


@dataclass(frozen=True, slots=True)
class Queued:
    """One update, and the time after which it is no longer delivered."""

    update_id: int
    update_kind: str
    payload: Json
    expires_at: float


@dataclass(slots=True)
class Mailbox:
    """What one bot has acknowledged, and how it receives its updates."""

    acknowledged_below: int = 0
    allowed: frozenset[str] | None = None
    webhook: Json = field(default_factory=dict)
    poll: asyncio.Future[str] | None = None
    last_offset: int | None = None
    last_poll_at: float = 0.0


class Updates:
    """The queue, and the mailboxes of the bots that have connected."""

    def __init__(self, *, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._queue: deque[Queued] = deque()
        self._queries: dict[str, tuple[int, float]] = {}
        self._last = 0
        self.mailboxes: dict[int, Mailbox] = {}

    @property
    def last_id(self) -> int:
        """The highest update id assigned so far."""
        return self._last

    def mailbox(self, bot_id: int) -> Mailbox:
        """Return the bot's mailbox, created on first use."""
        return self.mailboxes.setdefault(bot_id, Mailbox())

    def add(self, kind: str, payload: Json, *, lifetime_s: float) -> Queued:
        """Queue an update for every bot and wake the waiting bots that want it."""
        queued = Queued(self._last + 1, kind, payload, self._clock() + lifetime_s)
        self._keep(queued)
        self._journal.write({"kind": "update"} | asdict(queued))
        for mailbox in self.mailboxes.values():
            if mailbox.poll and not mailbox.poll.done() and _wants(mailbox, queued):
                mailbox.poll.set_result("")
        return queued

    def restore(self, **fields: Any) -> None:
        """Restore an update from its journal record."""
        self._keep(Queued(**fields))

    def restore_acknowledgement(self, *, bot_id: int, below: int) -> None:
        """Restore a bot's acknowledgement from its journal record; update ids continue after it."""
        self._last = max(self._last, below - 1)
        self.mailbox(bot_id).acknowledged_below = below

    def asker(self, query_id: str) -> int | None:
        """Return the id of the person behind a callback query; None if unknown or expired."""
        person_id, expires_at = self._queries.get(query_id, (None, 0.0))
        return person_id if expires_at > self._clock() else None

    def pending(self, bot_id: int) -> Iterator[Queued]:
        """Yield the updates that this bot wants and has not acknowledged, oldest first."""
        now, mailbox = self._clock(), self.mailbox(bot_id)
        for queued in self._queue:
            is_open = queued.update_id >= mailbox.acknowledged_below and queued.expires_at > now
            if is_open and _wants(mailbox, queued):
                yield queued

    async def poll(self, bot_id: int, *, offset: int, limit: int, timeout_s: int) -> list[Json]:
        """Return up to `limit` updates from `offset` on; wait up to `timeout_s` for the first one.

        Raises:
            Refused: a webhook is set, or another poller or a webhook came while this one waited.
        """
        mailbox = self.mailbox(bot_id)
        if mailbox.webhook:
            raise Refused(409, CONFLICT_WEBHOOK)
        self.interrupt(bot_id, CONFLICT_POLLER)
        if offset == mailbox.last_offset and self._clock() < mailbox.last_poll_at + EAGER_REPEAT_S:
            limit = 1
        mailbox.last_offset, mailbox.last_poll_at = offset, self._clock()
        self.acknowledge(bot_id, self._start(bot_id, offset))
        if timeout_s and not any(True for _ in self.pending(bot_id)):
            await self._wait(mailbox, min(timeout_s, MAX_TIMEOUT_S))
        return [
            {"update_id": queued.update_id, queued.update_kind: queued.payload}
            for queued in islice(self.pending(bot_id), limit)
        ]

    def interrupt(self, bot_id: int, reason: str) -> None:
        """End the bot's waiting long poll with a 409; `reason` is the text of the error."""
        poll = self.mailbox(bot_id).poll
        if poll and not poll.done():
            poll.set_result(reason)

    def acknowledge(self, bot_id: int, below: int) -> None:
        """Acknowledge this bot's updates below an id, so that they are not delivered again."""
        mailbox = self.mailbox(bot_id)
        if below <= mailbox.acknowledged_below:
            return
        mailbox.acknowledged_below = below
        self._journal.write({"kind": "acknowledged", "bot_id": bot_id, "below": below})
        self._prune()

    def _start(self, bot_id: int, offset: int) -> int:
        """Return the id below which `offset` acknowledges; a negative one counts from the end."""
        if offset >= 0:
            return min(offset, self._last + 1)
        newest = [queued.update_id for queued in self.pending(bot_id)][offset:]
        return newest[0] if newest else self._last + 1

    def _keep(self, queued: Queued) -> None:
        self._queue.append(queued)
        self._last = max(self._last, queued.update_id)
        if queued.update_kind == "callback_query":
            now = self._clock()
            self._queries = {key: value for key, value in self._queries.items() if value[1] > now}
            query = queued.payload
            try:
                self._queries[query["id"]] = (query["from"]["id"], queued.expires_at)
            except (KeyError, TypeError):  # made up by a test: it cannot be answered
                logger.debug("a callback query of no shape that can be answered")

    def _prune(self) -> None:
        marks = [mailbox.acknowledged_below for mailbox in self.mailboxes.values()]
        below = min(marks, default=0)
        now = self._clock()
        while self._queue and (
            self._queue[0].update_id < below or self._queue[0].expires_at <= now
        ):
            self._queue.popleft()

    async def _wait(self, mailbox: Mailbox, timeout_s: float) -> None:
        poll: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        mailbox.poll = poll
        try:
            conflict = await asyncio.wait_for(poll, timeout_s)
        except TimeoutError:
            return
        finally:
            if mailbox.poll is poll:
                mailbox.poll = None
        if conflict:
            raise Refused(409, conflict)


def _wants(mailbox: Mailbox, queued: Queued) -> bool:
    if mailbox.allowed:
        return queued.update_kind in mailbox.allowed
    return queued.update_kind not in KINDS_ON_REQUEST
