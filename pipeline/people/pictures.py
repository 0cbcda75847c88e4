"""A picture on its way in: decoded in a child process, and sent on without metadata.

What arrives is a stranger's bytes, and a decoder may crash on them, take gigabytes or never end. So
one child decodes them (`pipeline/people/picture_decoder.py`), one picture at a time for the whole
process, in bounded memory and time; whatever becomes of it, the member gets a line that says what
can be read. The child stays for the next picture (to start one takes 0.2 s), makes room for a new
one after a thousand, and ends when none has come for a minute.
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
# -I: neither the environment nor the folder changes what is imported.
COMMAND = (sys.executable, "-I", str(DECODER))
MAX_BYTES = 10_000_000  # Telegram's own limit for a photo
WITHIN_S = 20.0  # for one picture, with the start of a child; its seconds of CPU are fewer
IDLE_S = 60.0
PICTURES_A_CHILD = 1000

TOO_MANY_BYTES = "This picture is larger than 10 MB. Please send a smaller one."
TOO_MANY_PIXELS = (
    f"This picture is too large: I can read up to {MAX_PIXELS // 1_000_000} megapixels. "
    "Please send a smaller one."
)
NOT_READ = "I can't read this picture. Please send a JPEG, PNG, WebP or GIF."


class PictureRefused(Exception):
    """A picture that is not looked at; the message is for the member."""


class _ChildEnded(Exception):
    """The child is gone and has answered nothing."""


@dataclass(eq=False)
class _Job:
    """One picture that waits for its turn."""

    content: bytes
    done: Future[bytes] = field(default_factory=Future)
    was_dropped: bool = False  # its caller no longer waits for it


class PictureReader:
    """Decodes pictures in a child, in the order in which they come; used by any thread and loop.

    A thread of its own has the child. Both end when there is nothing to do.
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
        self._lock = threading.Lock()  # of the three below
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._current: _Job | None = None
        self._left = 0  # pictures that the child may still decode; the thread's own

    @property
    def child_pid(self) -> int | None:
        """The process id of the child, None while there is none."""
        with self._lock:
            return self._child.pid if self._child is not None else None

    def read(self, content: bytes) -> bytes:
        """Return the picture as a JPEG; blocks until its turn has come and gone.

        Raises:
            PictureRefused: too many bytes or pixels, or nothing that can be read.
            OSError: no child can be started now.
        """
        return self._submitted(content).done.result()

    async def aread(self, content: bytes) -> bytes:
        """Return the same without blocking the loop; cancelled, it lets the next picture go on."""
        job = self._submitted(content)
        try:
            return await asyncio.wrap_future(job.done)
        except asyncio.CancelledError:
            self._drop(job)
            raise

    def close(self) -> None:
        """End the child at once; what it works on is refused, and a next picture starts another."""
        with self._lock:
            child = self._child
        if child is not None:
            child.kill()
            child.wait()

    # --- who asks -----------------------------------------------------------------------------

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
        """Return the next job; None, and the thread is to end, when none has come for long."""
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
        except Exception as error:  # noqa: BLE001 - it is the asker's to handle
            job.done.set_exception(error)
        finally:
            with self._lock:
                self._current = None
            if job.was_dropped:
                self._retire()  # it may have been killed for that, or be about to die of it

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
        """Return the child that is there, else a new one; raises OSError."""
        if self._child is not None and self._child.poll() is not None:
            self._retire()  # it ended on its own meanwhile, which is no picture's fault
        if self._child is not None:
            return self._child
        child = subprocess.Popen(  # noqa: S603 - our own program, and nothing of a member's
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},  # keys are in the bot's
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
    """Kill the child if what is done with it takes longer; raises _ChildEnded, also if just so."""
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
        watch.join()  # it may be killing the child right now, which is not to meet the next picture
    if is_late.is_set():
        raise _ChildEnded


def _asked(child: subprocess.Popen[bytes], content: bytes) -> tuple[bytes, bytes]:
    """Return the letter of the child's answer, and the JPEG; raises _ChildEnded or OSError."""
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
    """End a child and wait for it; it holds nothing that it would have to put away."""
    if child is None:
        return
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):  # of what was left to be written
                pipe.close()


reader = PictureReader()
atexit.register(reader.close)


def prepared(content: bytes) -> str:
    """Return the picture as a base64 JPEG, at most 2,048 pixels a side; raises as `aprepared`."""
    return base64.b64encode(reader.read(content)).decode()


async def aprepared(content: bytes) -> str:
    """Return the picture as a JPEG in base64, at most 2,048 pixels a side.

    Raises:
        PictureRefused: too many bytes or pixels, or nothing that can be read.
        OSError: no child can be started now; the picture may be a good one.
    """
    return base64.b64encode(await reader.aread(content)).decode()
