"""Decodes members' pictures in a child process, and re-encodes them without metadata.

The bytes are untrusted: a decoder may crash on them, use gigabytes of memory or never end. So one
child (`pipeline/people/picture_decoder.py`) decodes one picture at a time for the whole process, in
bounded memory and time. If it fails, the member gets a line that says what can be read. The child
is kept for the next picture (starting one takes 0.2 s), is replaced after a thousand pictures, and
is ended after a minute without one.
"""

from __future__ import annotations

import asyncio
import atexit
import base64
import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pipeline.people.picture_decoder import (
    LENGTH,
    MAX_PIXELS,
    PICTURE,
    TOO_LARGE,
    UNREADABLE,
)

logger = logging.getLogger(__name__)

DECODER = Path(__file__).with_name("picture_decoder.py")
# -I: isolated mode, so neither the environment nor the working directory affects imports.
COMMAND = (sys.executable, "-I", str(DECODER))
MAX_BYTES = 10_000_000  # Telegram's own limit for a photo
WITHIN_S = 20.0  # wall time for one picture, including the start of a child; CPU time is less
IDLE_S = 60.0
PICTURES_A_CHILD = 1000

TOO_MANY_BYTES = "This picture is larger than 10 MB. Please send a smaller one."
TOO_MANY_PIXELS = (
    f"This picture is too large: I can read up to {MAX_PIXELS // 1_000_000} megapixels. "
    "Please send a smaller one."
)
NOT_READ = "I can't read this picture. Please send a JPEG, PNG, WebP or GIF."


class PictureRefused(Exception):
    """The picture cannot be used; the message is shown to the member."""


class _ChildEnded(Exception):
    """The child ended without an answer."""


@dataclass(eq=False)
class _Job:
    """One picture in the queue, and the future of its result."""

    content: bytes
    done: Future[bytes] = field(default_factory=Future)
    was_dropped: bool = False  # the caller was cancelled and no longer waits


class PictureReader:
    """Decodes pictures in a child process, first come, first served; safe in any thread or loop.

    A dedicated thread talks to the child. Both end after `idle_s` seconds without a picture.
    """

    def __init__(
        self,
        command: Sequence[str] = COMMAND,
        *,
        within_s: float = WITHIN_S,
        idle_s: float = IDLE_S,
        pictures_a_child: int = PICTURES_A_CHILD,
    ) -> None:
        self._command = command
        self._within_s = within_s
        self._idle_s = idle_s
        self._pictures_a_child = pictures_a_child
        self._jobs: queue.Queue[_Job] = queue.Queue()
        self._lock = threading.Lock()  # guards the next three attributes
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._current: _Job | None = None
        self._left = 0  # pictures that the child may still decode; used by the thread only

    @property
    def child_pid(self) -> int | None:
        """The process id of the child; None while there is no child."""
        with self._lock:
            return self._child.pid if self._child is not None else None

    def read(self, content: bytes) -> bytes:
        """Return the picture as JPEG bytes; blocks until it has been decoded.

        Raises:
            PictureRefused: the picture has too many bytes or pixels, or cannot be read.
            OSError: no child can be started now.
        """
        return self._submitted(content).done.result()

    async def aread(self, content: bytes) -> bytes:
        """Do the same as `read` without blocking the loop; on cancellation, stop decoding."""
        job = self._submitted(content)
        try:
            return await asyncio.wrap_future(job.done)
        except asyncio.CancelledError:
            self._drop(job)
            raise

    def close(self) -> None:
        """End the child at once; its current picture is refused. The next starts a new child."""
        with self._lock:
            child = self._child
        if child is not None:
            child.kill()
            child.wait()

    # --- the caller ---------------------------------------------------------------------------

    def _submitted(self, content: bytes) -> _Job:
        if len(content) > MAX_BYTES:
            raise PictureRefused(TOO_MANY_BYTES)
        job = _Job(content)
        with self._lock:
            self._jobs.put(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="pictures", daemon=True)
                self._thread.start()
        return job

    def _drop(self, job: _Job) -> None:
        job.was_dropped = True  # before the lock: see `_do`
        with self._lock:
            if self._current is job and self._child is not None:
                self._child.kill()

    # --- the thread ---------------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._do(job)

    def _next(self) -> _Job | None:
        """Return the next job; None if none came for `idle_s` seconds, so that the thread ends."""
        try:
            return self._jobs.get(timeout=self._idle_s)
        except queue.Empty:
            pass
        with self._lock:
            if not self._jobs.empty():
                return self._jobs.get_nowait()
            self._thread = None
            child, self._child = self._child, None
        _end(child)
        return None

    def _do(self, job: _Job) -> None:
        with self._lock:
            self._current = job
        try:
            if not job.was_dropped and job.done.set_running_or_notify_cancel():
                job.done.set_result(self._decoded(job))
        except Exception as error:  # noqa: BLE001 - passed on to the caller
            job.done.set_exception(error)
        finally:
            with self._lock:
                self._current = None
            if job.was_dropped:
                self._retire()  # `_drop` has killed the child, or is about to

    def _decoded(self, job: _Job) -> bytes:
        child = self._warm_child()
        try:
            with _killed_after(self._within_s, child):
                letter, jpeg = _asked(child, job.content)
        except (_ChildEnded, OSError):
            self._retire()
            if not job.was_dropped:
                logger.warning("a picture ended its decoder (exit code %s)", child.returncode)
            raise PictureRefused(NOT_READ) from None
        self._left -= 1
        if self._left <= 0:
            self._retire()
        if letter == PICTURE:
            return jpeg
        raise PictureRefused(TOO_MANY_PIXELS if letter == TOO_LARGE else NOT_READ)

    def _warm_child(self) -> subprocess.Popen[bytes]:
        """Return the running child, or start a new one; raises OSError if that fails."""
        if self._child is not None and self._child.poll() is not None:
            self._retire()  # it ended between two pictures, so no picture is to blame
        if self._child is not None:
            return self._child
        child = subprocess.Popen(  # noqa: S603 - our own program; no member input in the command
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},  # the bot's environment contains keys
        )
        self._left = self._pictures_a_child
        with self._lock:
            self._child = child
        return child

    def _retire(self) -> None:
        with self._lock:
            child, self._child = self._child, None
        _end(child)


@contextmanager
def _killed_after(seconds: float, child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill the child if the block takes longer than `seconds`.

    Raises:
        _ChildEnded: the time was up, even if the block completed at the last moment.
    """
    is_late = threading.Event()

    def kill() -> None:
        is_late.set()
        child.kill()

    watch = threading.Timer(seconds, kill)
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
        watch.join()  # a kill in progress must not hit the next picture
    if is_late.is_set():
        raise _ChildEnded


def _asked(child: subprocess.Popen[bytes], content: bytes) -> tuple[bytes, bytes]:
    """Send a picture to the child; return its answer's letter and the JPEG (b"" if refused).

    Raises:
        _ChildEnded: the child ended without a complete answer.
        OSError: the pipe to the child is broken.
    """
    source, target = child.stdin, child.stdout
    if source is None or target is None:
        raise _ChildEnded
    source.write(LENGTH.pack(len(content)) + content)
    source.flush()
    letter = target.read(1)
    if letter in (TOO_LARGE, UNREADABLE):
        return letter, b""
    if letter != PICTURE:
        raise _ChildEnded
    (length,) = LENGTH.unpack(_exactly(target, LENGTH.size))
    return letter, _exactly(target, length)


def _exactly(source: IO[bytes], count: int) -> bytes:
    content = source.read(count)
    if len(content) < count:
        raise _ChildEnded
    return content


def _end(child: subprocess.Popen[bytes] | None) -> None:
    """Kill a child and wait for it; it has nothing to clean up."""
    if child is None:
        return
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):  # flushing buffered input to a dead child fails
                pipe.close()


reader = PictureReader()
atexit.register(reader.close)


def prepared(content: bytes) -> str:
    """Return the picture as a base64 JPEG, like `aprepared`, but block until it is decoded."""
    return base64.b64encode(reader.read(content)).decode()


async def aprepared(content: bytes) -> str:
    """Return the picture as a base64 JPEG of at most 2,048 pixels a side.

    Raises:
        PictureRefused: the picture has too many bytes or pixels, or cannot be read.
        OSError: no child can be started now; the picture itself may be fine.
    """
    return base64.b64encode(await reader.aread(content)).decode()
