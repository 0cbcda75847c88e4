"""Cancel asyncio tasks reliably.

A single cancellation may get lost: `sync_to_async` swallows one that arrives just as its thread is
finishing (asgiref 3.13, `SyncToAsync.__call__`), and the coroutine continues uncancelled.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Collection
from typing import Any

from agents.llm.secrets import scrub

logger = logging.getLogger(__name__)

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
