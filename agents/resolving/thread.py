"""The resolver's thread, which alone reads the overrides, over its own database connection."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future

from agents.resolving.refresher import CachedSnapshot, OverridesUnknown
from agents.resolving.subscription import Subscription
from agents.snapshot import close_connection, use_own_connection

logger = logging.getLogger(__name__)

AFTER_FAILURE_S = 1.0  # the shortest pause after a look that failed unexpectedly


class ThreadEnded(Exception):
    """The thread ended before it looked; ask another one."""


class LookThread(threading.Thread):
    """Looks when it is asked, when `pause_s` is over, and when a change is announced.

    Args:
        look: Makes one look, in this thread, and returns what is known then.
        pause_s: Returns the seconds until the next look; None if there is none until it is asked.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        look: Callable[[LookThread], CachedSnapshot],
        pause_s: Callable[[LookThread], float | None],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(name="overrides", daemon=True)  # a database that hangs delays no exit
        self.subscription = Subscription(clock)
        self._look = look
        self._pause_s = pause_s
        self._clock = clock
        self._lock = threading.Lock()
        self._asked: Future[CachedSnapshot] | None = None
        self._busy_since: float | None = None
        self._is_closing = self._is_over = self._has_failed = False
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)

    def ask(self) -> Future[CachedSnapshot] | None:
        """Return the result of the look in progress or, if there is none, of a new one.

        Returns None if the thread has ended or is ending: create a new one. The future may fail
        with `ThreadEnded`.
        """
        with self._lock:
            if self._is_over or self._is_closing:
                return None
            if self._asked is None:
                self._asked = Future()
            if self._busy_since is None:
                self._busy_since = self._clock()
                self._wake()
            return self._asked

    @property
    def busy_for_s(self) -> float:
        """For how long a look has been in progress or awaited; 0 if there is none."""
        busy_since = self._busy_since
        return 0.0 if busy_since is None else max(0.0, self._clock() - busy_since)

    def close(self, within_s: float) -> None:
        """End the thread and its connection; wait for that at most `within_s` seconds."""
        self.leave()
        self.join(within_s)

    def leave(self) -> None:
        """Have the thread end after the look in progress."""
        with self._lock:
            self._is_closing = True
            if not self._is_over:
                self._wake()

    def run(self) -> None:
        """Look again and again; use `start`."""
        use_own_connection()
        try:
            while not self._is_closing:
                self._look_once()
                self._wait()
        finally:
            with self._lock:
                self._is_over = True
                asked, self._asked = self._asked, None
                self._woken.close()
                self._waker.close()
            if asked is not None:
                asked.set_exception(ThreadEnded())
            close_connection()

    def _look_once(self) -> None:
        with self._lock:
            if self._busy_since is None:
                self._busy_since = self._clock()
            # This look serves all wake-ups until now.
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(1024)
        found, error = None, None
        try:
            found = self._look(self)
        except Exception as problem:  # noqa: BLE001 - raised by those who asked, or logged
            error = problem
        self._has_failed = error is not None
        with self._lock:
            asked, self._asked = self._asked, None
            self._busy_since = None
        if asked is None:
            if error is not None and not isinstance(error, OverridesUnknown):
                logger.error("overrides: a look failed", exc_info=error)
        elif found is not None:
            asked.set_result(found)
        else:
            asked.set_exception(error)

    def _wait(self) -> None:
        """Return when the next look is due, or the thread is to end."""
        while not self._is_closing:
            # Notifications that arrived during a look's queries no longer show at the socket.
            self.subscription.receive()
            if self.subscription.has_news:
                return
            pause_s = self._pause_s(self)
            if self._has_failed and pause_s is not None:
                pause_s = max(pause_s, AFTER_FAILURE_S)
            waiting = select.poll()
            waiting.register(self._woken, select.POLLIN)
            announced = self.subscription.fileno()
            if announced is not None:
                waiting.register(announced, select.POLLIN)
            ready = [found for found, _ in waiting.poll(pause_s and pause_s * 1000)]
            if not ready:
                return
            if self._woken.fileno() in ready:
                return

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it has not taken in earlier wake-ups
            self._waker.send(b"\0")
