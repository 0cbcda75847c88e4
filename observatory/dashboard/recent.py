"""A cache of texts for some seconds, for pages that many people poll every second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable


class Recent:
    """Keeps texts in this process for `lasts_s` seconds."""

    def __init__(self, lasts_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lasts_s = lasts_s
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[Hashable, tuple[float, str]] = {}

    def get_or_make(self, key: Hashable, make: Callable[[], str]) -> str:
        """Return the text for `key`: the kept one, or `make()` if that is too old or missing."""
        with self._lock:
            at = self._clock()
            self._kept = {k: kept for k, kept in self._kept.items() if at - kept[0] < self._lasts_s}
            if key in self._kept:
                return self._kept[key][1]
        text = make()  # not under the lock: a slow database must not make others queue
        with self._lock:
            self._kept[key] = (at, text)
        return text
