"""Transactions in groups: durable when they are heard of, and none failing of another."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from unittest.mock import patch

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import OperationalError, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import SimpleTestCase, TransactionTestCase

from pipeline.journal import text_store
from pipeline.journal.fencing import Superseded
from pipeline.journal.records import RunJournal
from pipeline.journal.text_store import grouped
from pipeline.journal.writer import TOGETHER, writer_here
from pipeline.models import TextBlob

T = TypeVar("T")


def submit(write: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    """Queue a write and start it at once."""
    writer = writer_here()
    written = writer.add(partial(write, *arguments))
    writer.begin()
    return written


@grouped
def keep(name: str) -> str:
    """Write a row, as what is recorded does."""
    TextBlob.objects.create(sha256=name, text=name)
    return name


@grouped
def keep_and_fail(name: str) -> None:
    keep(name)
    raise Superseded(name)


def kept() -> list[str]:
    """Return what another connection sees."""
    names: list[str] = []

    def look() -> None:
        names.extend(TextBlob.objects.order_by("sha256").values_list("pk", flat=True))
        connection.close()

    looking = threading.Thread(target=look)
    looking.start()
    looking.join()
    return names


class Gate:
    """A transaction that ends when it is let, so that others gather meanwhile."""

    def __init__(self) -> None:
        self.is_open = threading.Event()

    def __call__(self) -> None:
        assert self.is_open.wait(timeout=30)


class GroupTests(TransactionTestCase):
    def setUp(self) -> None:
        self.commits: list[list[str]] = []
        self.gate = Gate()

    def noted(self, name: str) -> None:
        """Write a row, and note with which others it is committed."""

        @grouped
        def write() -> None:
            keep(name)
            if not connection.run_on_commit:
                self.commits.append([])
            transaction.on_commit(lambda: self.commits[-1].append(name))

        write()

    async def gathered(self, *waiting: asyncio.Future[Any]) -> None:
        """Let everything that was submitted be done, and wait for the end of it."""
        await asyncio.sleep(0)
        self.gate.is_open.set()
        await asyncio.wait(waiting)

    async def test_one_that_comes_alone_is_committed_at_once(self):
        assert await submit(keep, "a") == "a"

        assert kept() == ["a"]

    async def test_what_gathers_meanwhile_is_committed_together_in_the_order_it_came(self):
        submit(self.gate)
        await asyncio.sleep(0)  # it is under way, alone
        names = [f"{number:02}" for number in range(TOGETHER + 2)]

        await self.gathered(*(submit(self.noted, name) for name in names))

        assert self.commits == [names[:TOGETHER], names[TOGETHER:]]
        assert kept() == names

    async def test_whoever_hears_of_it_can_count_on_it(self):
        seen = {}
        blocked = submit(self.gate)

        async def follow(name: str) -> None:
            await submit(keep, name)
            seen[name] = kept()

        following = [asyncio.create_task(follow(name)) for name in "abc"]
        await self.gathered(blocked)
        await asyncio.gather(*following)

        assert all(name in rows for name, rows in seen.items())

    async def test_of_one_that_fails_nothing_stays_and_none_of_the_others_is_lost(self):
        good, bad, other = submit(keep, "a"), submit(keep_and_fail, "b"), submit(keep, "c")

        results = await asyncio.gather(good, bad, other, return_exceptions=True)

        assert [results[0], results[2]] == ["a", "c"]
        assert isinstance(results[1], Superseded)
        assert kept() == ["a", "c"]

    async def test_what_failed_in_a_group_alone_is_done_by_itself(self):
        has_failed: list[str] = []

        @grouped
        def keep_at_the_second_try(name: str) -> str:
            if name == "b" and not has_failed:
                has_failed.append(name)
                raise OperationalError("deadlock detected")
            return keep(name)

        writes = [submit(keep_at_the_second_try, name) for name in "abc"]

        assert await asyncio.gather(*writes) == ["a", "b", "c"]
        assert (has_failed, kept()) == (["b"], ["a", "b", "c"])

    async def test_where_no_database_answers_all_of_a_group_hear_so_at_once(self):
        await submit(connections.close_all)
        away = OperationalError("nobody answers")
        wrapper: Any = type(connections["default"])

        with patch.object(wrapper, "get_new_connection", side_effect=away) as connect:
            writes = [submit(keep, name) for name in "abc"]
            results = await asyncio.gather(*writes, return_exceptions=True)

        assert results == [away] * 3
        assert connect.call_count == 1

    async def test_a_commit_whose_end_nobody_heard_of_is_not_made_again(self):
        wrapper: Any = type(connections["default"])
        commit = wrapper._commit

        def commit_and_break_off(database: BaseDatabaseWrapper) -> None:
            commit(database)
            database.connection.close()
            raise OperationalError("it broke off")

        with patch.object(wrapper, "_commit", commit_and_break_off):
            writes = [submit(keep, name) for name in "abc"]
            results = await asyncio.gather(*writes, return_exceptions=True)

        assert [str(result) for result in results] == ["it broke off"] * 3
        assert kept() == ["a", "b", "c"]

    async def test_it_is_done_although_its_waiter_is_cancelled(self):
        first, given_up, last = submit(self.gate), submit(keep, "a"), submit(keep, "b")
        await asyncio.sleep(0)

        given_up.cancel()
        await self.gathered(first, last)

        assert kept() == ["a", "b"]


class EndTests(TransactionTestCase):
    def test_what_still_waits_when_the_loop_ends_is_written_too(self):
        gate = Gate()
        names = [f"{number:03}" for number in range(3 * TOGETHER)]

        async def main() -> None:
            submit(gate)
            for _ in range(5):  # until the writer waits for the thread
                await asyncio.sleep(0)
            for name in names:
                submit(keep, name)
            threading.Timer(0.1, gate.is_open.set).start()

        async def close() -> None:
            await sync_to_async(connections.close_all)()

        self.addCleanup(lambda: asyncio.run(close()))  # in the thread of the loops' own

        asyncio.run(main())

        assert kept() == names


class TextOrderTests(TransactionTestCase):
    async def test_the_texts_of_a_group_are_stored_in_the_order_of_their_ids(self):
        stored: list[str] = []

        def noted(execute: Any, sql: str, rows: Any, many: bool, context: Any) -> Any:
            if many:
                stored.extend(row[0] for row in rows)
            return execute(sql, rows, many, context)

        def note() -> None:
            connection.execute_wrappers.append(noted)
            transaction.on_commit(lambda: connection.execute_wrappers.remove(noted))

        # In any other order, two groups with the same texts could wait for each other.
        await asyncio.gather(
            submit(grouped(note)), *(submit(grouped(text_store.put), text) for text in "abcd")
        )

        assert len(stored) == 4
        assert stored == sorted(stored)


class Facts(RunJournal):
    def add(self, write: Callable[[], Any]) -> None:
        self._add(write)


class PlaceTests(SimpleTestCase):
    """Without a database: a transaction that comes alone needs none of its own."""

    def test_of_two_web_requests_each_writes_in_a_thread_of_its_own(self):
        async def request() -> int:
            async with ThreadSensitiveContext():
                return await submit(threading.get_ident)

        async def main() -> tuple[int, int]:
            return await asyncio.gather(request(), request())

        assert len(set(asyncio.run(main()))) == 2

    def test_whoever_outlives_the_web_request_it_belongs_to_hears_why_nothing_is_done(self):
        async def write_when(is_over: asyncio.Event) -> int:
            await is_over.wait()
            return await submit(threading.get_ident)

        async def main() -> None:
            is_over = asyncio.Event()
            with ThreadPoolExecutor(max_workers=1) as thread:
                async with ThreadSensitiveContext(executor=thread):
                    writing = asyncio.create_task(write_when(is_over))
                    await asyncio.sleep(0)
            is_over.set()
            with pytest.raises(RuntimeError, match="has exited"):
                await writing

        asyncio.run(main())

    def test_where_the_loop_ends_nobody_goes_on_waiting(self):
        gate = Gate()
        outcomes = []

        async def wait() -> None:
            try:
                journal = Facts()
                journal.add(gate)
                await journal.flush()
            except asyncio.CancelledError:
                outcomes.append("cancelled")
                raise

        async def main() -> None:
            for _ in range(2):
                waiting = asyncio.create_task(wait())
                await asyncio.sleep(0)  # what comes first is done first, what comes next waits
                await asyncio.sleep(0)
                self.addCleanup(waiting.cancel)
            threading.Timer(0.1, gate.is_open.set).start()

        asyncio.run(main())

        assert outcomes == ["cancelled"] * 2

    def test_a_write_that_the_busy_thread_has_not_begun_when_the_loop_ends_is_done_once(self):
        assert self._written_while_the_loop_ends(is_begun=False) == ["written"]

    def test_a_write_that_the_thread_has_begun_when_the_loop_ends_is_waited_for(self):
        assert self._written_while_the_loop_ends(is_begun=True) == ["written"]

    def _written_while_the_loop_ends(self, *, is_begun: bool) -> list[str]:
        gate, outcomes = Gate(), []

        def write() -> str:
            if is_begun:
                gate()
            return "written"

        async def wait() -> None:
            written = submit(write)
            while not written.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([written])
            outcomes.append(written.result())

        async def main() -> list[asyncio.Task[None]]:
            busy = [] if is_begun else [asyncio.create_task(sync_to_async(gate)())]
            await asyncio.sleep(0)
            busy.append(asyncio.create_task(wait()))
            for _ in range(5):  # until the writer waits for the thread
                await asyncio.sleep(0)
            threading.Timer(0.1, gate.is_open.set).start()
            return busy

        asyncio.run(main())
        return outcomes
