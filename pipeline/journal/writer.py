"""Group commit: writes queued during a commit share the next transaction.

There is no timer, so a lone write runs at once. If one write of a group fails, the group is rolled
back and each write runs alone, so that no write fails because of another. A future resolves once
its write is durable. Writes run in Django's ORM thread, in the order of their submission.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import Error, connection, transaction

P = ParamSpec("P")
T = TypeVar("T")
# Decorates a function that is one transaction, alone or in a group. It sets no savepoint, because
# a group is committed or rolled back as a whole.
grouped = transaction.atomic(savepoint=False)

TOGETHER = 32  # maximum size of a group; it blocks the ORM's thread and the rows it locks
PAUSE_S = 0.001  # between groups on SQLite, where other writers poll for the lock


def submit(write: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> asyncio.Future[T]:
    """Queue a write: a function that is a single statement or `grouped`.

    It runs even if the future is not awaited. The future gets its result or error.
    """
    # A web request has its own thread and so its own connection: it shares no group with others.
    place = SyncToAsync.thread_sensitive_context.get(None) or asyncio.get_running_loop()
    writer = _writers.get(place)
    if writer is None:
        writer = _writers[place] = _Writer()
    return writer.submit(partial(write, *arguments, **options))


@dataclass(slots=True)
class _Write:
    """A queued write, the future of its caller, and its result or error."""

    perform: Callable[[], Any]
    waiter: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def attempt(self) -> None:
        self.error = None
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


class _Writer:
    """The queue of writes that share an event loop and a thread."""

    def __init__(self) -> None:
        self._waiting: deque[_Write] = deque()
        self._working: asyncio.Task[None] | None = None

    def submit(self, perform: Callable[[], Any]) -> asyncio.Future[Any]:
        write = _Write(perform, asyncio.get_running_loop().create_future())
        self._waiting.append(write)
        if self._working is None:
            self._working = asyncio.create_task(self._work(), name="journal writer")
        return write.waiter

    async def _work(self) -> None:
        group: list[_Write] = []
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
                await _do_in_the_orms_thread(group)
                for write in group:
                    write.tell()
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


_writers: WeakKeyDictionary[object, _Writer] = WeakKeyDictionary()


def _do(group: list[_Write]) -> None:
    if len(group) == 1:
        group[0].attempt()
        return
    left = deque(group)
    try:
        if _is_done_as_one(group):
            return
        while left:
            connection.ensure_connection()
            left[0].attempt()
            left.popleft()
    except Error as error:  # no database: finding out took seconds, and would again for each
        for write in left:
            write.error = error


def _is_done_as_one(group: list[_Write]) -> bool:
    """Run a group as one transaction; False if a failure has rolled all of it back.

    Raises:
        Error: the database does not answer. Whether the transaction was committed may be unknown.
    """
    began_on = None
    try:
        with transaction.atomic():
            began_on = connection.connection
            _be_impatient()
            for write in group:
                write.attempt()
                if write.error is not None:
                    transaction.set_rollback(True)
                    return False
    except Error:
        if began_on is None or connection.connection is not began_on:  # Django drops dead ones
            raise
        return False  # such as a failed commit; running each write alone finds the culprit
    return True


def _be_impatient() -> None:
    """Limit how long a group waits for a lock; PostgreSQL only.

    The whole group would wait, and may itself hold a row that the other transaction waits for.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '100ms'")  # well below deadlock_timeout


_do_in_the_orms_thread = sync_to_async(_do)
