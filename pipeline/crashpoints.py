"""Named points at which fault tests kill a process, so that a restart is tested from each of them.

`settings.CRASH_POINT` is empty in the product; only the settings of the fault tests set it.
`name:count` kills the process when it reaches that point for the count-th time, `name@words` each
time it reaches the point with an `about` text that contains the words.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

from django.conf import settings

POINTS = (
    "storing updates",  # inside the batch's transaction
    "updates stored",  # committed, not yet acknowledged to Telegram
    "facts written",  # inside the transaction of several facts of runs
    "facts committed",  # their run has not been told yet
    "foreground call written",  # the request is about to be sent
    "foreground call answered",  # its answer is not yet recorded
    "foreground step ended",  # its end may wait for the next step's request to be committed with it
    "background call written",
    "background step ended",  # the queue does not know it yet
    "placeholder sent",  # its message id is not yet recorded
    "answer kept",  # stored as outgoing messages, none of them sent
    "message sent",  # not yet marked as sent
)
_reached: Counter[str] = Counter()


def reach(name: str, about: str = "") -> None:
    """Do nothing, or kill this process with SIGKILL if a fault test has chosen this point."""
    if not settings.CRASH_POINT:
        return
    _reached[name] += 1
    point, _, words = settings.CRASH_POINT.partition("@")
    is_about_it = point == name and words in about if words else False
    if is_about_it or f"{name}:{_reached[name]}" == settings.CRASH_POINT:
        os.kill(os.getpid(), signal.SIGKILL)
