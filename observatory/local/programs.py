"""Runs programs side by side on one console, and stops all of them when one ends.

Each program leads its own session, so Ctrl-C reaches only the supervisor, which stops the programs
in order: the bot finishes its answers while the web, which hosts the sandbox, still serves it.
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

ANSWERS_WITHIN_S = 60.0  # a first start on a slow disk takes 10 s
READY_WITHIN_S = 5.0
LINE_LIMIT = 4 * 1024 * 1024
# SIGHUP, sent when the terminal closes, stops the programs too, unless nohup had it ignored.
STOP_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    *([] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]),
)
COLOURS = ("36", "35", "33", "32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program to run, how to see that it is ready, and how long it may take to stop."""

    name: str
    argv: Sequence[str]
    stops_within_s: float
    answers_at: tuple[str, int] | None = None  # answers HTTP here once it is ready
    ready_words: str = ""  # prints this once it is ready


class Console:
    """Prints lines, a program's with its name in front."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_coloured = stream.isatty() and "NO_COLOR" not in os.environ

    def say(self, line: str, *, name: str = "", number: int = 0) -> None:
        """Print one line and flush; errors are ignored, because the terminal may be gone."""
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
    """Starts all programs, and stops all of them when one ends or a stop signal arrives."""

    def __init__(self, programs: Sequence[Program], *, cwd: Path, console: Console) -> None:
        self._programs = programs
        self._cwd = cwd
        self._console = console
        self._running: list[_Running] = []

    async def run(self, when_ready: Callable[[], None]) -> int:
        """Run until a stop signal arrives or a program ends by itself; return the exit code.

        The code is 0 after a signal, and not 0 after a program's end.
        """
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
        """Pass the program's lines on to the console, and notice when it is ready."""
        if process.stdout is None:
            raise AssertionError("the process was started with a pipe")
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            self._console.say(line, name=program.name, number=number)
            if program.ready_words and program.ready_words in line:
                is_ready.set()

    async def _greet(self, when_ready: Callable[[], None]) -> None:
        """Call `when_ready` once all programs are ready.

        A bot that waits for Telegram delays the call by `READY_WITHIN_S` seconds at most.
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
        """Return the exit code after a program ended by itself, and the supervisor's last line."""
        dead = next(running for running in self._running if running.ended.done())
        code = dead.ended.result()
        self._console.say(f"{dead.program.name} ended by itself with code {code}: stopping all.")
        # A signal counts as in a shell (128 + number). Code 0 becomes 1: no program should end.
        return (
            128 - code if code < 0 else code or 1,
            f"Stopped, because {dead.program.name} ended by itself. What it said is above.",
        )

    async def _stop_all(self) -> None:
        for running in reversed(self._running):
            await _stop(running)
        # The pipes are closed now, but the programs' last lines may still have to be printed.
        await asyncio.gather(*(running.relay for running in self._running), return_exceptions=True)


async def _stop(running: _Running) -> None:
    """Send SIGTERM, wait up to `stops_within_s`, then send SIGKILL; both to the process group."""
    if not running.ended.done():
        _signal(running, signal.SIGTERM)
        await asyncio.wait({running.ended}, timeout=running.program.stops_within_s)
    _signal(running, signal.SIGKILL)
    await running.ended


def _signal(running: _Running, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(running.process.pid, number)


async def _answers(host: str, port: int) -> None:
    """Return once an HTTP server answers there, with any status."""
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
