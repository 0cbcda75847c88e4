"""Ending tasks for good: one cancellation may get lost.

`sync_to_async` swallows a cancellation that comes while its thread is just about to be done
(asgiref 3.13, `SyncToAsync.__call__`), and the coroutine goes on uncancelled.
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

ASK_AGAIN_AFTER_S = 0.3  # what was cancelled may still write down that it was


async def end(tasks: Collection[asyncio.Task[Any]], within_s: float = math.inf) -> None:
    """Cancel tasks until they have ended; what does not in time is left alone.

    Their later results and errors are only logged.
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
