"""Group commit: writes queued during a commit share the next transaction.

There is no timer, so a write that comes alone runs at once. If one of a group fails, the group is
rolled back and each write runs alone, so that none fails because of another. A future is resolved
when its write is durable. Writes run in Django's ORM thread, in the order of their submission.
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
# For a function that is a transaction, alone or in a group: without a savepoint, because a group is
# kept as a whole or not at all.
grouped = transaction.atomic(savepoint=False)

TOGETHER = 32  # others wait for the ORM's thread and for the rows meanwhile
PAUSE_S = 0.001  # on SQLite, where other writers poll for the lock


def submit(write: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> asyncio.Future[T]:
    """Queue a function that is a single statement or `grouped`; it runs even if not awaited.

    The future has its result or error.
    """
    # A web request has a thread of its own, and so a connection: what it writes is no other's.
    place = SyncToAsync.thread_sensitive_context.get(None) or asyncio.get_running_loop()
    writer = _writers.get(place)
    if writer is None:
        writer = _writers[place] = _Writer()
    return writer.submit(partial(write, *arguments, **options))


@dataclass(slots=True)
class _Write:
    """A transaction, who waits for it, and what came of it."""

    perform: Callable[[], Any]
    waiter: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def attempt(self) -> None:
        self.error = None
        try:
            self.result = self.perform()
        except Exception as error:  # noqa: BLE001 - it is its waiter's
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
    """The transactions of those who share a loop and a thread."""

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
        except BaseException as error:  # such as the loop's end: no future may stay pending
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
    except Error as error:  # no database: to find that out took seconds, and would for each
        for write in left:
            write.error = error


def _is_done_as_one(group: list[_Write]) -> bool:
    """Do a group as one transaction; False if nothing of it was done, because one failed.

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
        if began_on is None or connection.connection is not began_on:  # Django drops a dead one
            raise
        return False  # the commit failed, for one; whose fault it is comes out when each is alone
    return True


def _be_impatient() -> None:
    """Let no group wait for a row.

    The whole group would wait, and it may hold what the other transaction waits for.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '100ms'")  # well below deadlock_timeout


_do_in_the_orms_thread = sync_to_async(_do)
