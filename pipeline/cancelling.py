"""Cancel asyncio tasks reliably, and let what must not be cut off end first.

A single cancellation may get lost: `sync_to_async` swallows one that arrives just as its thread is
finishing (asgiref 3.13, `SyncToAsync.__call__`), and the coroutine continues uncancelled.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Collection
from typing import Any, TypeVar

from agents.llm.secrets import scrub

logger = logging.getLogger(__name__)

T = TypeVar("T")

ASK_AGAIN_AFTER_S = 0.3  # cancelled tasks may still record that they were cancelled


async def end(tasks: Collection[asyncio.Task[Any]], within_s: float = math.inf) -> None:
    """Cancel tasks repeatedly until they have ended, for at most `within_s` seconds.

    Tasks that have not ended by then are left alone. The error of a cancelled task is only logged.
    """
    ends_at = time.monotonic() + within_s
    cut_off = [task for task in tasks if not task.done()]
    while open_tasks := [task for task in tasks if not task.done()]:
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            break
        for task in open_tasks:
            task.cancel()
        await asyncio.wait(open_tasks, timeout=min(left_s, ASK_AGAIN_AFTER_S))
    for task in cut_off:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            logger.info("what was cut off ended with %s", scrub(f"{type(error).__name__}: {error}"))


async def finished(writing: Awaitable[T]) -> T:
    """Wait until a write has ended and return its result, even if the caller is cancelled.

    Otherwise a row could be written without its id being known, and could not be closed. The
    cancellation is raised once the write has ended.
    """
    task = asyncio.ensure_future(writing)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            # Retrieved here, or the loop would log later that it never was.
            raise cancellation from failure
        raise cancellation
    return task.result()
