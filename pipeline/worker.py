"""The bot's processes: connect intake, queue, pipelines and replies, and shut down in order.

    Telegram → intake (stored, then acknowledged) → queue → handlers → pipeline → outbox → Telegram

On one machine `runbot` does everything. With QUEUE=procrastinate it only receives updates, and any
number of `runworker` processes do the rest; with a webhook, the web process receives updates and
nothing polls. If a process is killed, the next one finds the unfinished work in the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import signal
import socket
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError

from agents.cancelling import end
from agents.llm.keys import fingerprint
from agents.model_config import OverridesUnknown
from pipeline.bot.alerts import Alerts
from pipeline.bot.application import BotRefused, BotSide
from pipeline.bot.parsing import NotForUs
from pipeline.journal import rows
from pipeline.journal.fencing import TaskLease
from pipeline.locks import LockTaken, locked, locked_name
from pipeline.models.inbox import TaskKind, TaskStatus
from pipeline.operations.periodic_jobs import PeriodicJobs
from pipeline.queue.backends import create_queue, has_workers_of_its_own
from pipeline.queue.base import TIMINGS, Claim, Timings
from pipeline.running.run_service import RunService

logger = logging.getLogger(__name__)

GRACE_S = 0.6  # for cancelled tasks to end
MAX_WORKERS = 64  # on one machine
LOCK_NAME = "runbot.lock"  # also the worker name of runbot in the queue


async def run_bot(*, take_over: bool = False) -> None:
    """Serve until SIGTERM or SIGINT; raises as `serve`."""
    await serve(_signalled(), take_over=take_over)


async def run_worker() -> None:
    """Work until SIGTERM or SIGINT; raises as `work`."""
    await work(_signalled())


def _signalled() -> asyncio.Event:
    stopping = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stopping.set)
    return stopping


async def serve(
    stopping: asyncio.Event, *, take_over: bool = False, timings: Timings = TIMINGS
) -> None:
    """Poll and work, depending on the settings, until `stopping` is set; then finish and close.

    Finishing takes at most DRAIN_SECONDS.

    Raises:
        BotRefused: no token, a refused token, another installation's webhook is set, another
            process works for this bot or on this database, or the settings leave this process
            nothing to do.
    """
    polls, works = not settings.TELEGRAM_WEBHOOK_URL, not has_workers_of_its_own()
    if not polls and not works:
        raise BotRefused(
            "Nothing to do for runbot: the web process takes updates in (TELEGRAM_WEBHOOK_URL), "
            "and runworker answers them (QUEUE=procrastinate)."
        )
    _require_token()
    with ExitStack() as stack:
        try:
            # A runbot of the previous release takes this lock exclusively; those of this release
            # share it.
            stack.enter_context(locked(settings.DATA_DIR / LOCK_NAME, is_shared=True))
            for name in _only_ones():
                stack.enter_context(locked_name(name))
            if (file := _sqlite_file()) is not None:  # containers may share the file
                stack.enter_context(locked(file.with_name(f"{file.name}.{LOCK_NAME}")))
        except LockTaken as error:
            raise BotRefused(
                "Another runbot is at work for this bot or on this database "
                f"({error}): stop it first."
            ) from None
        process = _Process("bot", LOCK_NAME, polls=polls, works=works, timings=timings)
        await process.live(stopping, take_over=take_over)


async def work(stopping: asyncio.Event) -> None:
    """Work on queued tasks until `stopping` is set; then finish and close everything.

    Raises:
        BotRefused: no token, a refused token, or a queue whose tasks run in the bot's process.
    """
    if not has_workers_of_its_own():
        raise BotRefused(
            f"QUEUE={settings.QUEUE} has its worker in runbot. For workers of their own, on any "
            "number of machines, set QUEUE=procrastinate and DATABASE_URL to PostgreSQL."
        )
    _require_token()
    with ExitStack() as stack:
        lock_path = _own_lock_path(stack)
        await _Process("worker", lock_path.name, polls=False, works=True).live(stopping)


def _only_ones() -> Iterator[str]:
    """Yield the names that a `runbot` must hold alone on its machine: of its bot and its database.

    Two processes with the same token would each get only some of the updates. Two on one database
    would give up each other's messages. The bot's name includes the API's address, so that each
    sandbox has a bot of its own.
    """
    bot_id = settings.TELEGRAM_BOT_TOKEN.partition(":")[0]
    database = settings.DATABASES["default"]
    for kind, parts in (
        ("bot", [settings.TELEGRAM_API_BASE_URL, bot_id]),
        ("database", [str(database.get(key, "")) for key in ("HOST", "PORT", "NAME")]),
    ):
        yield f"observatory-{kind}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}"


def _sqlite_file() -> Path | None:
    database = settings.DATABASES["default"]
    return Path(database["NAME"]) if database["ENGINE"].endswith("sqlite3") else None


def _require_token() -> None:
    if not settings.TELEGRAM_BOT_TOKEN:
        raise BotRefused(
            "TELEGRAM_BOT_TOKEN is not set: get one from @BotFather, or use SANDBOX=true."
        )


def _own_lock_path(stack: ExitStack) -> Path:
    """Lock and return the first free lock file of this machine.

    Its name is the worker's name in the queue, so a worker resumes the tasks of its predecessor.
    """
    for number in range(1, MAX_WORKERS + 1):
        lock_path: Path = settings.DATA_DIR / f"worker-{number}.lock"
        with contextlib.suppress(LockTaken):
            stack.enter_context(locked(lock_path))
            return lock_path
    raise BotRefused(f"{MAX_WORKERS} workers are at work from {settings.DATA_DIR}: enough of them.")


def _installation() -> str:
    """Return a unique name for this data folder, even if two machines have the same host name."""
    kept: Path = settings.DATA_DIR / "installation"
    name = uuid4().hex[:12]
    draft = kept.with_name(f"installation-{name}")
    draft.write_text(name, encoding="ascii")
    # A hard link appears with its content or not at all: if several processes start at once, one
    # of them sets the name.
    with contextlib.suppress(FileExistsError):
        kept.hardlink_to(draft)
    draft.unlink()
    return f"{socket.gethostname()}:{kept.read_text(encoding='ascii')}"


class _Process:
    """The parts of one bot process, from its start to its end."""

    def __init__(
        self,
        role: str,
        lock_name: str,
        *,
        polls: bool,
        works: bool,
        timings: Timings = TIMINGS,
    ) -> None:
        self._polls, self._works = polls, works
        self._alerts = Alerts()
        self._periodic_jobs = PeriodicJobs(self._alerts.send)
        self._queue = create_queue(f"{_installation()}:{lock_name}", timings)
        self._service = RunService(role, self._alerts.send_soon, self._queue.add)
        self._bot = BotSide(self._service, self._alerts, self._queue.add)

    async def live(self, stopping: asyncio.Event, *, take_over: bool = False) -> None:
        """Poll or work until `stopping` is set, then finish."""
        try:
            if await _unless(stopping, self._start(take_over=take_over)):
                await _unless(stopping, self._bot.poll() if self._polls else stopping.wait())
        finally:
            logger.info("stopping: no new messages are taken")
            await self._finish(within_s=settings.DRAIN_SECONDS)
            logger.info("stopped")

    async def _start(self, *, take_over: bool) -> None:
        if self._works:
            self._service.start()
            await _announce(self._service)
        await self._bot.connect(polls=self._polls, take_over=take_over)
        if self._works:
            # By now the token is known to be valid, and no run of this process can have started.
            await _close_orphans()
            await self._queue.start(self._perform, self._dead_letter)
            self._periodic_jobs.start()

    async def _perform(self, claim: Claim) -> TaskStatus:
        """Run one task of the queue."""
        if claim.step_id is not None:
            lease = TaskLease(claim.task_id, claim.token)
            await self._service.run_background_step(claim.step_id, lease)
            return TaskStatus.SUCCESSFUL
        if claim.run_id is not None:
            await self._service.rerun(claim.run_id, TaskLease(claim.task_id, claim.token))
            return TaskStatus.SUCCESSFUL
        speak = self._bot.handle
        if claim.kind is TaskKind.NOTICE:
            speak = self._bot.announce
        elif claim.kind is TaskKind.GREETING:
            speak = self._bot.greet
        try:
            return await speak(claim)
        except NotForUs:
            return TaskStatus.IGNORED

    async def _dead_letter(self, claim: Claim, why: str) -> None:
        """Close the step or run of a task that was given up, and notify those concerned."""
        if claim.step_id is not None:
            await sync_to_async(rows.give_step_up)(claim.step_id)
            self._alerts.send_soon(f"Background step {claim.step_id} was given up: {why}")
        elif claim.run_id is not None:
            await sync_to_async(rows.give_run_up)(claim.run_id)
            self._alerts.send_soon(f"Run {claim.run_id}, run again, was given up: {why}")
        else:
            await self._bot.dead_letter(claim, why)

    async def _finish(self, within_s: float) -> None:
        """Finish or hand back the work in progress, then close everything, within one deadline."""
        ends_at = time.monotonic() + within_s
        await self._periodic_jobs.close()
        await self._queue.close(_left(ends_at))
        await _until(ends_at, self._alerts.drain())
        await self._bot.close()
        if self._works:
            await self._service.close(_left(ends_at))


async def _announce(service: RunService) -> None:
    """Log in two lines whether overrides are in effect, and whose key pays."""
    try:
        overrides = await service.model_config.get_all()
        version = (await service.model_config.resolve("")).freshness.version
        known = f"{len(overrides)} active, {version}"
    except OverridesUnknown:
        known = "not read yet, the database does not answer"
    if settings.OPENROUTER_API_KEY:
        key = fingerprint(settings.OPENROUTER_API_KEY)
        logger.info("overrides: enabled (%s)", known)
        logger.info("overrides: paid by the shared key %s", key)
    else:
        logger.warning("overrides: disabled, OPENROUTER_API_KEY is not set (%s)", known)
        logger.warning("overrides: every agent uses the member's own provider")


async def _close_orphans() -> None:
    try:
        orphans = await sync_to_async(rows.close_orphans)()
    except DatabaseError as error:
        logger.error("interrupted runs stay open until the next start: %s", error)  # noqa: TRY400
        return
    if orphans:
        logger.warning("%s runs were interrupted by the last stop", orphans)


# --- time ---------------------------------------------------------------------------------------


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Await `work` and return True; cancel it and return False if `stopping` is set first."""
    working = asyncio.create_task(work, name="life of the process")
    stopped = asyncio.create_task(stopping.wait(), name="told to stop")
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            return True
        return False
    finally:
        await end([working, stopped], GRACE_S)


async def _until(ends_at: float, work: Coroutine[Any, Any, None]) -> None:
    """Await `work` until the monotonic time `ends_at` at most, then cancel it."""
    working = asyncio.create_task(work, name="finishing")
    await asyncio.wait({working}, timeout=_left(ends_at))
    await end([working], GRACE_S)


def _left(ends_at: float) -> float:
    return max(0.0, ends_at - time.monotonic())
