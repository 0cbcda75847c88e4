"""Ending tasks for good: one cancellation may get lost.

`sync_to_async` swallows a cancellation that comes while its thread is just about to be done
(asgiref 3.13, `SyncToAsync.__call__`), and the coroutine goes on as if nobody had asked.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Collection
from typing import Any

ASK_AGAIN_AFTER_S = 0.3  # what was cancelled may still write down that it was


async def end(tasks: Collection[asyncio.Task[Any]], within_s: float = math.inf) -> None:
    """Cancel tasks until they have ended; what does not in time is left alone."""
    ends_at = time.monotonic() + within_s
    while open_tasks := [task for task in tasks if not task.done()]:
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            return
        for task in open_tasks:
            task.cancel()
        await asyncio.wait(open_tasks, timeout=min(left_s, ASK_AGAIN_AFTER_S))
