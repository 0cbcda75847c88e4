"""Many calls, cut calls and a pool that broke: nothing is left over, and the next call works."""

from __future__ import annotations

import asyncio
import gc
import sys

import pytest
from django.test import SimpleTestCase

from agents.llm import http
from agents.llm.base import Unobserved
from agents.llm.errors import LLMError, ProviderUnavailable
from tests.llm.calling import Recorder
from tests.llm.loopback import (
    Canned,
    drip,
    hang_up_before_answer,
    loopback,
    never,
    reset_before_answer,
    until,
    unused_base_url,
)
from tests.llm.vendors import VENDORS, Vendor
from tests.proving import amount, closing_line

CALLS = amount(2_000, quickly=600, proving=10_000)
AT_ONCE = 50
BLOCKS_PER_CALL = 0.5  # of memory that stay: a leaked object each would be at least 1


class ManyCalls(SimpleTestCase):
    async def test_they_leak_no_connection_no_task_and_no_memory(self):
        for vendor in VENDORS:
            with self.subTest(vendor.name):
                async with loopback(vendor.ok()) as server:
                    await ask_often(vendor, server.base_url, 200)
                    tasks, blocks = len(asyncio.all_tasks()), allocated_blocks()
                    server.received.clear()
                    await ask_often(vendor, server.base_url, CALLS // len(VENDORS))
                    server.received.clear()
                    left_over = allocated_blocks() - blocks

                    assert server.connections <= AT_ONCE
                    assert len(asyncio.all_tasks()) == tasks
                    assert left_over < BLOCKS_PER_CALL * CALLS // len(VENDORS)
                    await http.close_clients()
                    await until(lambda: server.open_connections == 0)
        closing_line(f"endurance: {CALLS} calls, leaked nothing")

    async def test_neither_do_those_that_fail(self):
        for vendor in VENDORS:
            refusals = (vendor.refused(402), Canned(body=b"x"), vendor.ok(None))
            rounds = (never, drip, reset_before_answer, hang_up_before_answer, *refusals) * 2
            async with loopback(*rounds, vendor.ok()) as server:
                for number in range(len(rounds)):
                    # On a busy machine the deadline may pass before the request has arrived.
                    while len(server.chats) == number:
                        llm = vendor.provider(server.base_url, deadline_s=0.2)
                        with pytest.raises(LLMError):
                            await llm.complete("s", "u")
                assert (await vendor.provider(server.base_url).complete("s", "u")).text

                assert len(server.chats) == len(rounds) + 1
                await until(lambda: server.open_connections == 1)


class Cancelling(SimpleTestCase):
    async def test_the_vendor_sees_us_leave_at_once(self):
        for vendor in VENDORS:
            for misbehaviour in (never, drip):
                with self.subTest(f"{vendor.name} {misbehaviour.__name__}"):
                    recorder = Recorder()
                    async with loopback(misbehaviour) as server:
                        llm = vendor.provider(server.base_url, recorder, deadline_s=60)
                        call = asyncio.create_task(llm.complete("s", "u"))
                        await server.arrived.wait()
                        call.cancel()
                        with pytest.raises(asyncio.CancelledError):
                            await call
                        await asyncio.wait_for(server.hung_up.wait(), 2)

                    assert [outcome.cancelled for outcome in recorder.outcomes] == [True]
                    assert len(server.chats) == 1


class Healing(SimpleTestCase):
    async def test_connections_that_the_vendor_closed_are_not_used_again(self):
        for vendor in VENDORS:
            async with loopback(vendor.ok()) as server:
                await ask_often(vendor, server.base_url, 100)
                server.hang_up_on_all()
                await until(lambda: server.open_connections == 0)
                await asyncio.sleep(0)
                await ask_often(vendor, server.base_url, 100)

            assert len(server.chats) == 200

    async def test_a_vendor_that_comes_back_is_reached_again(self):
        for vendor in VENDORS:
            base_url = unused_base_url()
            for _ in range(3):
                with pytest.raises(ProviderUnavailable):
                    await vendor.provider(base_url).complete("s", "u")
            async with loopback(vendor.ok(), port=port_of(base_url)):
                assert (await vendor.provider(base_url).complete("s", "u")).text

    async def test_a_model_that_thinks_long_is_waited_for(self):
        silence_s = amount(1, proving=90)

        async def think(_, __, writer):
            await asyncio.sleep(silence_s)
            writer.write(VENDORS[0].ok("At last.").encoded())

        async with loopback(think) as server:
            llm = VENDORS[0].provider(server.base_url, deadline_s=120)

            assert (await llm.complete("s", "u")).text == "At last."


async def ask_often(vendor: Vendor, base_url: str, calls: int) -> None:
    llm = vendor.provider(base_url, Unobserved())
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask() -> None:
        async with gate:
            assert (await llm.for_step(llm.scope).complete("s", "u")).text

    await asyncio.gather(*(ask() for _ in range(calls)))
    await asyncio.sleep(
        0
    )  # the loop's current callback holds on to the tasks that gather waited for


def allocated_blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def port_of(base_url: str) -> int:
    return int(base_url.split(":")[2].split("/")[0])
