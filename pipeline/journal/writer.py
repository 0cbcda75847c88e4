"""Group commit: writes that are queued together share one transaction.

A write that a caller waits for starts a transaction at once (`begin`). Any other starts it after
`GATHER_S`, so that the end of a step, the next step and its request become one commit. If
one write of a group fails, the group is rolled back and each write runs alone, so that no write
fails because of another one, unless both belong to the same `Chain`. A future resolves once its
write is durable. Writes run in Django's ORM thread, in the order of their submission.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import (
    DatabaseError,
    Error,
    InterfaceError,
    InternalError,
    OperationalError,
    connection,
    transaction,
)

from agents.connections import close_broken
from pipeline import crashpoints
from pipeline.journal import text_store

T = TypeVar("T")

TOGETHER = 64  # maximum size of a group; it blocks the ORM's thread and the rows it locks
PAUSE_S = 0.001  # between groups on SQLite, where other writers poll for the lock
GATHER_S = 0.005  # how long a write may wait for others that belong to the same transaction
REPEATED_FOR_S = 60.0  # how long a write that must not be lost is repeated
# Errors of the database rather than of the write: outages, locks, a server that only reads.
MAY_PASS = (OperationalError, InterfaceError, InternalError)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0  # before a repetition; doubled each time


class RecordFailed(DatabaseError):
    """A write was not done because an earlier one of its chain has failed, or was cut off."""


@dataclass(slots=True)
class Chain:
    """Writes that mean nothing without the earlier ones: those of one run.

    After one of them has failed, later ones are refused, but for those that are `despite_gap`.
    """

    length: int = 0
    failed_at: int | None = None  # the number of the first write that failed


def writer_here() -> Writer:
    """Return the writer of this event loop or, in a web request, of the request's thread."""
    # A web request has its own thread and so its own connection: it shares no group with others.
    place = SyncToAsync.thread_sensitive_context.get(None) or asyncio.get_running_loop()
    writer = _writers.get(place)
    if writer is None:
        writer = _writers[place] = Writer()
    return writer


@dataclass(slots=True, kw_only=True)
class _Write:
    """A queued write, the future of its caller, and its result or error."""

    perform: Callable[[], Any]
    waiter: asyncio.Future[Any]
    must_last: bool
    despite_gap: bool
    chain: Chain
    number: int  # in its chain
    was_tried: bool = False
    result: Any = None
    error: BaseException | None = None
    failing_since: float | None = None  # monotonic
    is_lost: bool = False  # it must be recorded, and the database did not let it: repeat it

    def attempt(self) -> None:
        self.was_tried, self.error, self.is_lost = True, None, False
        failed_at = self.chain.failed_at
        if failed_at is not None and failed_at < self.number and not self.despite_gap:
            self.error = RecordFailed("an earlier fact of the same run could not be recorded")
            return
        try:
            # Only its first try alone may keep all others waiting for a lock.
            is_again = self.failing_since is not None
            self.result = _impatiently(self.perform) if is_again else self.perform()
        except Exception as error:  # noqa: BLE001 - passed on to the caller
            self.error = error

    def settle(self) -> None:
        """Note a failure that stays one."""
        self.is_lost = False
        if self.error is None:
            return
        if self.must_last and isinstance(self.error, MAY_PASS):
            now = time.monotonic()
            self.failing_since = self.failing_since or now
            self.is_lost = now - self.failing_since < REPEATED_FOR_S
        if not self.is_lost:
            self.leave_gap()

    def leave_gap(self) -> None:
        """Have later writes of the chain refused."""
        if self.chain.failed_at is None or self.number < self.chain.failed_at:
            self.chain.failed_at = self.number

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
        self._pause_s = FIRST_PAUSE_S
        self._called = asyncio.Event()  # a caller waits for a write
        self._is_ending = False  # the loop: what cannot be written now is not repeated

    @property
    def _is_working(self) -> bool:
        # A task that was cancelled before its first step has ended without saying so.
        return self._working is not None and not self._working.done()

    def add(
        self,
        perform: Callable[[], Any],
        *,
        chain: Chain | None = None,
        must_last: bool = False,
        despite_gap: bool = False,
    ) -> asyncio.Future[Any]:
        """Queue a write: a function that is a single statement or `text_store.grouped`.

        It starts after `GATHER_S`, or with the next group if one is under way, whether or not the
        future, which gets its result or error, is awaited.

        Args:
            perform: Does the write.
            chain: The writes that it belongs to.
            must_last: It records what has happened and may have cost money: while the database does
                not let it, it is repeated for `REPEATED_FOR_S`, and later ones of its chain wait.
            despite_gap: It is done even if an earlier one of its chain has failed.
        """
        loop = asyncio.get_running_loop()
        chain = chain or Chain()
        chain.length += 1
        write = _Write(
            perform=perform,
            waiter=loop.create_future(),
            must_last=must_last,
            despite_gap=despite_gap,
            chain=chain,
            number=chain.length,
        )
        self._waiting.append(write)
        if not self._is_working and self._beginning is None:
            self._beginning = loop.call_later(GATHER_S, self.begin)
        return write.waiter

    def begin(self) -> None:
        """Start a transaction with what is queued, unless one is under way."""
        if self._beginning is not None:
            self._beginning.cancel()
            self._beginning = None
        self._called.set()
        if self._waiting and not self._is_working:
            self._working = asyncio.create_task(self._work(), name="journal writer")

    async def flush(self, within_s: float) -> None:
        """Wait until all that is queued is written, for at most `within_s` seconds."""
        self.begin()
        if self._working is not None:
            await asyncio.wait({self._working}, timeout=within_s)

    async def _work(self) -> None:
        group: list[_Write] = []
        cancellation: asyncio.CancelledError | None = None
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
                turn = _Turn(group)
                is_gone = await turn.done()
                cancellation = cancellation or turn.cancellation
                self._is_ending = self._is_ending or cancellation is not None
                self._waiting.extendleft(one for one in reversed(group) if not one.was_tried)
                tried, lost = [write for write in group if write.was_tried], []
                for write in tried:
                    if write.is_lost and not self._is_ending:
                        lost.append(write)
                        continue
                    if write.is_lost:
                        write.leave_gap()
                    write.tell()
                group = []
                if cancellation is None:
                    await self._repeat_later(lost, is_gone=is_gone)
            if cancellation is not None:  # only now: what waited at the loop's end is written, too
                raise cancellation
        except BaseException as error:  # leave no future pending
            self._is_ending = isinstance(error, asyncio.CancelledError)
            for write in group:
                write.error = error
                write.leave_gap()
                write.tell()
            raise
        finally:
            self._working = None
            self.begin()

    async def _repeat_later(self, lost: Sequence[_Write], *, is_gone: bool) -> None:
        """Queue lost writes again: first if the connection is gone, last if only they are stuck."""
        if not lost:
            self._pause_s = FIRST_PAUSE_S
            if self._waiting and connection.vendor == "sqlite":
                await asyncio.sleep(PAUSE_S)
            return
        if is_gone:
            self._waiting.extendleft(reversed(lost))
        else:
            chains = {id(write.chain) for write in lost}
            stuck = [write for write in self._waiting if id(write.chain) in chains]
            others = [write for write in self._waiting if id(write.chain) not in chains]
            self._waiting = deque([*others, *lost, *stuck])
            failing = {id(one.chain) for one in self._waiting if one.failing_since is not None}
            if any(id(write.chain) not in failing for write in others):
                return
        if is_gone:
            await asyncio.sleep(self._pause_s)
        else:  # others need not wait for a lock that they do not need
            self._called.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._called.wait(), self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


_writers: WeakKeyDictionary[object, Writer] = WeakKeyDictionary()


class _Turn:
    """A group on its way through the ORM's thread, which runs it exactly once.

    The end of the event loop cancels all tasks. If the thread has not started the group by then, it
    is submitted again; if it has, it is waited for. So each write runs exactly once, and its caller
    learns the true result.
    """

    def __init__(self, group: Sequence[_Write]) -> None:
        self.cancellation: asyncio.CancelledError | None = None
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[bool] = self._loop.create_future()
        self._lock = threading.Lock()
        self._has_begun = False

    async def done(self) -> bool:
        """Have the group run, and return whether the database cannot be reached.

        A cancellation is kept in `cancellation` instead of being raised.
        """
        handed_over: asyncio.Task[None] | None = None
        while not self._finished.done():
            if handed_over is None or handed_over.cancelled():
                handed_over = asyncio.create_task(self._handed_over(), name="journal group")
            elif handed_over.done():
                handed_over.result()  # why the thread could not take it
            either: list[asyncio.Future[Any]] = [handed_over, self._finished]
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError as error:
                self.cancellation = error
        return self._finished.result()

    async def _handed_over(self) -> None:
        # In a context of its own, which nobody reads afterwards. Without one, asgiref 3.13 copies
        # the variables back when this task is cancelled, while the thread is still in the context:
        # CPython 3.11 then crashed in `ContextVar.get`, about once in a hundred ends of a loop.
        await sync_to_async(self._run, context=contextvars.copy_context())()

    def _run(self) -> None:
        with self._lock:  # a group that was handed over twice must not run twice
            if self._has_begun:
                return
            self._has_begun = True
        is_gone, error = False, None
        try:
            is_gone = _do(self._group)
        except BaseException as problem:  # noqa: BLE001 - raised in the event loop
            error = problem
        self._loop.call_soon_threadsafe(self._tell, is_gone, error)

    def _tell(self, is_gone: bool, error: BaseException | None) -> None:
        if error is None:
            self._finished.set_result(is_gone)
        else:
            self._finished.set_exception(error)


def _do(group: Sequence[_Write]) -> bool:
    """Run writes as one transaction or, if one fails, each alone up to the first that is lost.

    Returns:
        Whether the database cannot be reached.
    """
    try:
        close_broken()  # connects anew, which may fail
        if len(group) > 1 and _is_done_as_one(group):
            return False
    except Error as error:
        _fail(group, error)
        return True
    for write in group:
        write.was_tried = False
    for number, write in enumerate(group):
        try:
            if number:
                connection.ensure_connection()
        except Error as error:  # finding out took seconds, and would again for each
            _fail(group[number:], error)
            return True
        write.attempt()
        write.settle()
        if write.is_lost:
            return connection.connection is None or not connection.is_usable()
    return False


def _fail(writes: Sequence[_Write], error: Error) -> None:
    for write in writes:
        write.was_tried, write.error = True, error
        write.settle()


class _Undone(Exception):
    """A write of the group failed, so that none of it is committed."""


def _is_done_as_one(group: Sequence[_Write]) -> bool:
    """Run a group as one transaction; False if a failure has rolled all of it back.

    Raises:
        Error: the database does not answer. Whether the transaction was committed may be unknown.
    """
    began_on = None
    try:
        with transaction.atomic():
            with text_store.gathering():
                began_on = connection.connection
                _be_impatient()
                for write in group:
                    write.attempt()
                    if write.error is not None:
                        raise _Undone
            crashpoints.reach("facts written")
    except Exception as error:
        is_same = began_on is not None and connection.connection is began_on
        if isinstance(error, Error) and not is_same:  # Django drops dead connections
            raise
        return False
    crashpoints.reach("facts committed")
    return True


def _impatiently(perform: Callable[[], T]) -> T:
    with transaction.atomic(savepoint=False):
        _be_impatient()
        return perform()


def _be_impatient() -> None:
    """Limit how long a group waits for a lock; PostgreSQL only.

    The whole group would wait, and may itself hold a row that the other transaction waits for.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '100ms'")  # well below deadlock_timeout
