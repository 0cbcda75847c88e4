"""Runs programs side by side: one console, one end for all, nothing left behind.

Each program leads a session of its own, so Ctrl-C reaches the supervisor alone and it decides on
the order: the bot finishes its answers while the web, in which the sandbox lives, still serves it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

ANSWERS_WITHIN_S = 60.0  # a first start on a slow disk takes ten
READY_WITHIN_S = 5.0
LINE_LIMIT = 4 * 1024 * 1024
# A closed terminal ends the programs, too, unless nohup asked otherwise.
STOP_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    *([] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]),
)
COLOURS = ("36", "35", "33", "32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run, how one sees that it is ready, and how long it may take to stop."""

    name: str
    argv: Sequence[str]
    stops_within_s: float
    answers_at: tuple[str, int] | None = None  # speaks HTTP here once it is ready
    ready_words: str = ""  # or prints this


class Console:
    """Prints lines, those of a program behind its name."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_coloured = stream.isatty() and "NO_COLOR" not in os.environ

    def say(self, line: str, *, name: str = "", number: int = 0) -> None:
        """Print one line at once; a terminal that is gone is no reason to fail."""
        prefix = f"{name} │ " if name else ""
        if prefix and self._is_coloured:
            prefix = f"\x1b[{COLOURS[number % len(COLOURS)]}m{prefix}\x1b[0m"
        with contextlib.suppress(OSError, UnicodeError):
            self._stream.write(f"{prefix}{line}\n")
            self._stream.flush()


@dataclass(frozen=True, slots=True)
class _Running:
    program: Program
    process: Process
    is_ready: asyncio.Event
    relay: asyncio.Task[None]
    ended: asyncio.Task[int]


class Supervisor:
    """Starts all programs, and stops all when one ends or when it is told to."""

    def __init__(self, programs: Sequence[Program], *, cwd: Path, console: Console) -> None:
        self._programs = programs
        self._cwd = cwd
        self._console = console
        self._running: list[_Running] = []

    async def run(self, when_ready: Callable[[], None]) -> int:
        """Run until a signal (0) or a program ends by itself (not 0); return the exit code."""
        stop = asyncio.Event()
        for number in STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        stopped = asyncio.create_task(stop.wait(), name="told to stop")
        greeting: asyncio.Task[None] | None = None
        try:
            for program in self._programs:
                await self._start(program)
            greeting = asyncio.create_task(self._greet(when_ready), name="greeting")
            await asyncio.wait(
                {stopped, *(running.ended for running in self._running)},
                return_when=asyncio.FIRST_COMPLETED,
            )
            code, why = (0, "Stopped.") if stopped.done() else self._name_the_dead()
        finally:
            stopped.cancel()
            if greeting is not None:
                greeting.cancel()
            await self._stop_all()
        self._console.say(why)
        return code

    async def _start(self, program: Program) -> None:
        process = await asyncio.create_subprocess_exec(
            *program.argv,
            cwd=self._cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
            limit=LINE_LIMIT,
        )
        is_ready = asyncio.Event()
        relay = self._relay(program, process, is_ready, len(self._running))
        self._running.append(
            _Running(
                program,
                process,
                is_ready,
                asyncio.create_task(relay, name="output"),
                asyncio.create_task(process.wait(), name="process"),
            )
        )

    async def _relay(
        self, program: Program, process: Process, is_ready: asyncio.Event, number: int
    ) -> None:
        """Pass the program's lines on to the console."""
        if process.stdout is None:
            raise AssertionError("the process was started with a pipe")
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            self._console.say(line, name=program.name, number=number)
            if program.ready_words and program.ready_words in line:
                is_ready.set()

    async def _greet(self, when_ready: Callable[[], None]) -> None:
        """Call `when_ready` once all is ready.

        A bot that waits for Telegram delays the call only briefly.
        """
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                for running in self._running:
                    if running.program.answers_at is not None:
                        await _answers(*running.program.answers_at)
        except TimeoutError:
            self._console.say(f"Nothing answers after {ANSWERS_WITHIN_S:g} s; see above.")
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_WITHIN_S):
                for running in self._running:
                    if running.program.ready_words:
                        await running.is_ready.wait()
        when_ready()

    def _name_the_dead(self) -> tuple[int, str]:
        """Return the exit code for the program that ended, and the words for the end of all."""
        dead = next(running for running in self._running if running.ended.done())
        code = dead.ended.result()
        self._console.say(f"{dead.program.name} ended by itself with code {code}: stopping all.")
        # A signal as a shell reports it; an end without an error is none that was asked for.
        return (
            128 - code if code < 0 else code or 1,
            f"Stopped, because {dead.program.name} ended by itself. What it said is above.",
        )

    async def _stop_all(self) -> None:
        for running in reversed(self._running):
            await _stop(running)
        # The pipes are closed now; what the programs said last is still to be printed.
        await asyncio.gather(*(running.relay for running in self._running), return_exceptions=True)


async def _stop(running: _Running) -> None:
    """Ask the program to end, then end it, and whatever it has started."""
    if not running.ended.done():
        _signal(running, signal.SIGTERM)
        await asyncio.wait({running.ended}, timeout=running.program.stops_within_s)
    _signal(running, signal.SIGKILL)
    await running.ended


def _signal(running: _Running, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(running.process.pid, number)


async def _answers(host: str, port: int) -> None:
    """Return once an HTTP server answers there, whatever it says."""
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(
                    (
                        f"GET /admin/login/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
                    ).encode()
                )
                if (await reader.read(5)) == b"HTTP/":
                    return
            finally:
                writer.close()
        await asyncio.sleep(0.1)
