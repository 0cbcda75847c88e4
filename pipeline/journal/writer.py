"""Group commit: writes that are queued together share one transaction.

A write that somebody waits for starts a transaction at once. One that nobody waits for yet starts
it after `GATHER_S`, so that the end of a step, the next step and its request become one commit. If
one write of a group fails, the group is rolled back and each write runs alone, so that no write
fails because of another. A future resolves once its write is durable. Writes run in Django's ORM
thread, in the order of their submission.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import stamina
from asgiref.sync import SyncToAsync, sync_to_async
from django.db import Error, OperationalError, connection, transaction

from agents.connections import afresh
from pipeline import crashpoints
from pipeline.journal import text_store

TOGETHER = 64  # maximum size of a group; it blocks the ORM's thread and the rows it locks
PAUSE_S = 0.001  # between groups on SQLite, where other writers poll for the lock
GATHER_S = 0.005  # how long a write may wait for others that belong to the same transaction
TRIED_FOR_S = 60.0  # how long a write that must not be lost is repeated on new connections


def writer_here() -> Writer:
    """Return the writer of this event loop or, in a web request, of the request's thread."""
    # A web request has its own thread and so its own connection: it shares no group with others.
    place = SyncToAsync.thread_sensitive_context.get(None) or asyncio.get_running_loop()
    writer = _writers.get(place)
    if writer is None:
        writer = _writers[place] = Writer()
    return writer


@dataclass(slots=True)
class _Write:
    """A queued write, the future of its caller, and its result or error."""

    perform: Callable[[], Any]
    waiter: asyncio.Future[Any]
    must_last: bool = False
    was_tried: bool = False
    result: Any = None
    error: BaseException | None = None

    @property
    def is_lost(self) -> bool:
        """Whether it must be repeated: it has to be recorded, and the connection broke."""
        return self.must_last and isinstance(self.error, OperationalError)

    def attempt(self) -> None:
        self.was_tried, self.error = True, None
        try:
            self.result = self.perform()
        except Exception as error:  # noqa: BLE001 - passed on to the caller
            self.error = error

    def tell(self) -> None:
        if self.waiter.done():  # it was cancelled
            return
        if isinstance(self.error, asyncio.CancelledError):
            self.waiter.cancel()
        elif self.error is not None:
            self.waiter.set_exception(self.error)
        else:
            self.waiter.set_result(self.result)


class Writer:
    """The queue of writes that share an event loop and a thread."""

    def __init__(self) -> None:
        self._waiting: deque[_Write] = deque()
        self._working: asyncio.Task[None] | None = None
        self._beginning: asyncio.TimerHandle | None = None

    def add(self, perform: Callable[[], Any], *, must_last: bool = False) -> asyncio.Future[Any]:
        """Queue a write: a function that is a single statement or `text_store.grouped`.

        It starts with the next group, after `GATHER_S` at the latest, even if nobody awaits the
        future, which gets its result or error.

        With `must_last` it records what has happened and may have cost money: if the connection
        breaks, it is repeated on new ones for up to `TRIED_FOR_S`. What was queued later waits.
        """
        loop = asyncio.get_running_loop()
        write = _Write(perform, loop.create_future(), must_last)
        self._waiting.append(write)
        if self._working is None and self._beginning is None:
            self._beginning = loop.call_later(GATHER_S, self.begin)
        return write.waiter

    def begin(self) -> None:
        """Start a transaction with what is queued, unless one is under way."""
        if self._beginning is not None:
            self._beginning.cancel()
            self._beginning = None
        if self._working is None and self._waiting:
            self._working = asyncio.create_task(self._work(), name="journal writer")

    async def flush(self, within_s: float) -> None:
        """Wait until all that is queued is written, for at most `within_s` seconds."""
        self.begin()
        if self._working is not None:
            await asyncio.wait({self._working}, timeout=within_s)

    async def _work(self) -> None:
        group: list[_Write] = []
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
                await _do_in_the_orms_thread(group)
                self._waiting.extendleft(one for one in reversed(group) if not one.was_tried)
                group = [write for write in group if write.was_tried]
                for write in group:
                    if not write.is_lost:
                        write.tell()
                await self._repeat([write for write in group if write.is_lost])
                if self._waiting and connection.vendor == "sqlite":
                    await asyncio.sleep(PAUSE_S)
        except BaseException as error:  # such as the loop's end: leave no future pending
            for write in (*group, *self._waiting):
                write.error = error
                write.tell()
            raise
        finally:
            self._waiting.clear()
            self._working = None

    async def _repeat(self, lost: list[_Write]) -> None:
        """Repeat writes on new connections until all are done or the time is up."""
        if not lost:
            return
        left = lost
        try:
            async for attempt in stamina.retry_context(
                on=OperationalError,
                attempts=None,
                wait_initial=0.1,
                wait_max=2.0,
                timeout=TRIED_FOR_S,
            ):
                with attempt:
                    await _afresh_in_the_orms_thread(_do, left)
                    left = [write for write in left if write.is_lost or not write.was_tried]
                    for write in left:
                        raise write.error or OperationalError("the connection is lost")
        except OperationalError as error:
            for write in left:
                write.error = error
        for write in lost:
            write.tell()


_writers: WeakKeyDictionary[object, Writer] = WeakKeyDictionary()


def _do(group: list[_Write]) -> None:
    """Run writes as one transaction or, if one fails, each alone up to the first that is lost."""
    if len(group) == 1:
        group[0].attempt()
        return
    try:
        if _is_done_as_one(group):
            return
    except Error as error:
        _fail(group, error)
        return
    for write in group:
        write.was_tried = False
    for number, write in enumerate(group):
        try:
            connection.ensure_connection()
        except Error as error:  # finding out took seconds, and would again for each
            _fail(group[number:], error)
            return
        write.attempt()
        if write.is_lost:
            return


def _fail(writes: list[_Write], error: Error) -> None:
    for write in writes:
        write.was_tried, write.error = True, error


class _Undone(Exception):
    """A write of the group failed, so that none of it is committed."""


def _is_done_as_one(group: list[_Write]) -> bool:
    """Run a group as one transaction; False if a failure has rolled all of it back.

    Raises:
        Error: the database does not answer. Whether the transaction was committed may be unknown.
    """
    began_on = None
    try:
        with transaction.atomic(), text_store.gathering():
            began_on = connection.connection
            _be_impatient()
            for write in group:
                write.attempt()
                if write.error is not None:
                    raise _Undone
            crashpoints.reach("facts written")
    except _Undone:
        return False
    except Error:
        if began_on is None or connection.connection is not began_on:  # Django drops dead ones
            raise
        return False  # such as a failed commit; running each write alone finds the culprit
    crashpoints.reach("facts committed")
    return True


def _be_impatient() -> None:
    """Limit how long a group waits for a lock; PostgreSQL only.

    The whole group would wait, and may itself hold a row that the other transaction waits for.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '100ms'")  # well below deadlock_timeout


_do_in_the_orms_thread = sync_to_async(_do)
_afresh_in_the_orms_thread = sync_to_async(afresh)
