"""The part that all backends share: claim tasks from the database, run them, record the outcome.

Backends differ in how tasks are claimed (`TaskStore`) and in what wakes them. `add` wakes the
backend, so that a task is handed out as soon as it is committed; polling finds the rest.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import stamina
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, transaction

from agents.cancelling import end
from agents.connections import afresh
from agents.llm.secrets import scrub
from agents.log_fields import log_as
from agents.model_config import OverridesUnknown
from pipeline.journal.fencing import Superseded
from pipeline.models.inbox import PermanentFailureKind, Task, TaskKind, TaskStatus
from pipeline.queue import pastes
from pipeline.queue.base import (
    MAX_ATTEMPTS,
    POISON_SUSPECT_AFTER,
    Claim,
    Claimed,
    Failure,
    OnDeadLetter,
    Perform,
    PermanentFailure,
    Timings,
)
from pipeline.queue.task_store import LEASE, TaskStore

logger = logging.getLogger(__name__)

# How many tasks of each kind may run at once, in the order in which kinds are claimed. The limits
# are per kind, so that background work never keeps a member waiting, nor one member another's
# /cancel. The limit for messages is the setting RUNS_AT_ONCE.
ROOM = {
    TaskKind.CONTROL: 64,
    TaskKind.MESSAGE: 0,
    TaskKind.GREETING: 8,
    TaskKind.STEP: 16,
    TaskKind.RERUN: 4,
    TaskKind.NOTICE: 16,
}
AT_LENGTH = frozenset({TaskKind.MESSAGE, TaskKind.STEP, TaskKind.RERUN})  # they call models
# After a crash, few tasks start at first, and more with each one that ends and each second that
# passes. If the crash repeats, those few have got further; with all at once, none would have.
RAMP_FROM, RAMP_BY_ENDED, RAMP_PER_S, RAMP_ENDS_AFTER_S = 4, 2, 8, 60.0
CLAIMED_WITHIN_S = 2.0
GRACE_S = 0.3  # for cancelled tasks to record that they were cancelled
OUTAGE_PAUSE = timedelta(seconds=2)
OUTAGES = (OperationalError, InterfaceError, OverridesUnknown)
T = TypeVar("T")


class Dispatcher:
    """A queue whose tasks run in the process that has this object."""

    def __init__(self, store: TaskStore, timings: Timings) -> None:
        self._store = store
        self._timings = timings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._running: dict[asyncio.Task[None], Claim] = {}
        self._lost: set[Claim] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._began_at = math.inf
        self._crashed_at = -math.inf
        self._ended = 0
        self._is_closing = False
        self._at_once = {**ROOM, TaskKind.MESSAGE: settings.RUNS_AT_ONCE}
        self._poison_suspect: Claim | None = None  # the latest one, until it ends
        self._alone_until = -math.inf
        self._are_others_next = False
        self._is_troubled = False
        self._settled_at = math.inf
        self._renewed_at: datetime | None = None

    def add(self, tasks: Sequence[Task]) -> None:
        """Add tasks in the caller's transaction; they are handed out once it is committed."""
        self._store.add(tasks)
        transaction.on_commit(self._wake, robust=True)
        if any(task.is_paste for task in tasks):
            transaction.on_commit(partial(self._wake, pastes.WAIT.total_seconds()), robust=True)

    async def start(self, perform: Perform, on_dead_letter: OnDeadLetter) -> None:
        """Start handing out tasks, including those that the previous process was working on."""
        self._perform, self._on_dead_letter = perform, on_dead_letter
        self._loop = asyncio.get_running_loop()
        left = await self._surely(self._store.free_mine)
        if left:
            logger.warning("%s tasks were under way when the last process ended", left)
            self._crashed_at = time.monotonic()
        self._began_at = time.monotonic()
        self._settled_at = self._began_at + self._timings.settle_s
        self._loops = [
            asyncio.create_task(self._go_on_with(loop), name=f"queue: {loop.__name__}")
            for loop in (self._hand_out, self._watch, self._keep, *self._more_loops())
        ]

    async def close(self, within_s: float) -> None:
        """Stop handing out tasks, wait up to `within_s` for running ones, hand back the rest."""
        self._is_closing = True
        ends_at = time.monotonic() + within_s
        if self._loops:
            # Let a claim in progress finish: if it were cut off, no process would run its tasks.
            self._woken.set()
            await asyncio.wait(self._loops[:1], timeout=min(within_s / 2, CLAIMED_WITHIN_S))
        await end(self._loops[:1], GRACE_S)
        if self._running:
            left_s = ends_at - time.monotonic() - GRACE_S
            await asyncio.wait(self._running, timeout=max(0.0, left_s))
        await end(list(self._running), 2 * GRACE_S)
        await end(self._loops, GRACE_S)

    def _more_loops(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """Return the additional loops that a backend runs until it is closed."""
        return ()

    def _wake(self, after_s: float = 0.0) -> None:
        if self._loop is not None and not self._loop.is_closed():  # callable from any thread
            self._loop.call_soon_threadsafe(self._loop.call_later, after_s, self._woken.set)

    async def _go_on_with(self, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a loop, and restart it if a bug ends it: nothing else would."""
        while True:
            try:
                await loop()
            except Exception:
                logger.exception("the queue's %s ended by a mistake and begins anew", loop.__name__)
                await asyncio.sleep(self._timings.poll_interval_s)
            else:
                return

    # --- three loops --------------------------------------------------------------------------

    async def _hand_out(self) -> None:
        """Claim tasks while there is room, whenever one was added or has ended; also poll."""
        while not self._is_closing:
            self._woken.clear()
            is_alone = self._poison_suspect is not None and time.monotonic() < self._alone_until
            most_deaths = 0 if is_alone or self._are_others_next else self._most_deaths()
            if self._are_others_next and not is_alone:
                self._are_others_next = False
                self._woken.set()
            claim_more = partial(self._store.claim, most_deaths=most_deaths)
            claimed = await self._try(claim_more, self._room(is_alone=is_alone)) or Claimed([])
            if claimed.is_more:
                self._woken.set()
            for claim in claimed.claims:
                self._leave_earlier(claim)
                if claim.is_poison_suspect:
                    self._leave_alone(claim)
                task = asyncio.create_task(self._work(claim), name=f"task {claim.task_id}")
                self._running[task] = claim
                task.add_done_callback(self._done)
            try:
                await asyncio.wait_for(self._woken.wait(), self._timings.poll_interval_s)
            except TimeoutError:
                continue

    def _leave_alone(self, suspect: Claim) -> None:
        """Start no long task beside a suspect for a moment; then other tasks before suspects."""
        self._poison_suspect, self._alone_until = suspect, time.monotonic() + self._timings.alone_s
        self._are_others_next = True  # otherwise many suspects would keep all others waiting
        self._wake(self._timings.alone_s)

    def _room(self, *, is_alone: bool) -> dict[TaskKind, int]:
        """Return how many more tasks of each kind may start now; `is_alone`: beside a suspect."""
        taken = [claim.kind for claim in self._running.values()]
        most = self._most_at_once()
        is_alone = (
            is_alone and self._poison_suspect is not None and self._poison_suspect.kind in AT_LENGTH
        )
        return {
            kind: 0 if is_alone and kind in AT_LENGTH else min(count, most) - taken.count(kind)
            for kind, count in self._at_once.items()
        }

    def _most_deaths(self) -> int:
        """Return how many worker deaths a suspect may have and still be claimed; 0 claims none."""
        calm = (time.monotonic() - self._began_at) / self._timings.calm_s
        return POISON_SUSPECT_AFTER + int(math.log2(calm)) if calm >= 1 else 0

    def _most_at_once(self) -> int:
        alive_s = min(time.monotonic() - self._crashed_at, RAMP_ENDS_AFTER_S)
        return RAMP_FROM + RAMP_BY_ENDED * self._ended + round(RAMP_PER_S * alive_s)

    async def _watch(self) -> None:
        """Pass on stop requests, and cancel work on tasks that another worker has taken over."""
        while not self._is_closing or self._running:
            await asyncio.sleep(self._timings.stop_every_s)
            held = list(self._running.items())
            wanted = {claim.task_id for _, claim in held}
            rows = await self._try(self._store.look, wanted) if held else None
            for task, claim in held:
                token, is_stopped = (rows or {}).get(claim.task_id, (claim.token, False))
                if is_stopped:
                    claim.stop.set()
                if token != claim.token:
                    self._leave(task, claim)

    def _leave_earlier(self, claim: Claim) -> None:
        """Cancel earlier work on a task that was freed as a silent worker's and claimed again."""
        for task, earlier in self._running.items():
            if earlier.task_id == claim.task_id:
                self._leave(task, earlier)

    def _leave(self, task: asyncio.Task[None], claim: Claim) -> None:
        """Cancel work on a task that another worker has taken over, or that was claimed again."""
        if not task.done():
            self._lost.add(claim)
            task.cancel()

    async def _keep(self) -> None:
        """Renew the leases, and free the tasks whose leases other workers have let expire."""
        while not self._is_closing or self._running:
            tokens = [claim.token for claim in self._running.values()]
            now = await self._try(self._store.renew, tokens)
            if not self._is_steady(now):
                # Other workers may not have renewed theirs yet: do not free their tasks.
                self._settled_at = time.monotonic() + self._timings.settle_s
            elif time.monotonic() >= self._settled_at:
                freed = await self._try(self._store.free_expired, tokens)
                if freed:
                    self._woken.set()
            await asyncio.sleep(self._timings.renew_every_s)

    def _is_steady(self, now: datetime | None) -> bool:
        """Tell whether the leases were renewed in time, without an outage or a pause between."""
        before, self._renewed_at = self._renewed_at, now
        return now is not None and (before is None or now - before < LEASE)

    # --- one task -----------------------------------------------------------------------------

    async def _work(self, claim: Claim) -> None:
        """Run a task and record its outcome."""
        log_as(task=claim.task_id)
        try:
            if claim.delivery_count > MAX_ATTEMPTS:
                raise PermanentFailure(claim_died(claim), PermanentFailureKind.WORKER_DIED)
            status = await self._perform(claim)
            await self._surely(self._store.end, claim, status)
        except asyncio.CancelledError:
            if claim not in self._lost:
                await self._surely(self._store.hand_back, claim)
            raise
        except Superseded as error:
            logger.warning("task=%s: too late, %s", claim.task_id, error)
        except PermanentFailure as error:
            await self._dead_letter(claim, Failure.of(error))
        except Exception as error:  # noqa: BLE001 - a task may raise anything: `_failed` logs it
            await self._failed(claim, error)

    async def _failed(self, claim: Claim, error: Exception) -> None:
        failure = Failure.of(error)
        if isinstance(error, OUTAGES):  # the database is down or full: not the task's fault
            logger.warning("task=%s waits for the database: %s", claim.task_id, failure.error)
            put_back = partial(self._store.put_back, counts=False)
            await self._surely(put_back, claim, failure, OUTAGE_PAUSE)
            return
        count = await self._surely(self._store.delivery_count_of, claim) or claim.delivery_count
        logger.error(
            "task=%s delivery=%s failed: %s",
            claim.task_id,
            count,
            failure.error,
            exc_info=error,
        )
        if count >= MAX_ATTEMPTS:
            await self._dead_letter(claim, failure)
            return
        pause = timedelta(seconds=self._timings.first_pause_s * 2 ** (count - 1))
        await self._surely(self._store.put_back, claim, failure, pause)

    async def _dead_letter(self, claim: Claim, failure: Failure) -> None:
        """Mark a task dead after telling those concerned; a kill in between repeats both."""
        if await self._surely(self._store.delivery_count_of, claim) is None:
            return
        logger.error("task=%s is given up: %s", claim.task_id, failure.error)
        try:
            await self._on_dead_letter(claim, failure.error)
        except OUTAGES:
            put_back = partial(self._store.put_back, counts=False)
            await self._surely(put_back, claim, failure, OUTAGE_PAUSE)
            return
        await self._surely(self._store.end, claim, TaskStatus.DEAD_LETTER, failure)

    def _done(self, task: asyncio.Task[None]) -> None:
        claim = self._running.pop(task)
        self._ended += 1
        self._lost.discard(claim)
        if claim is self._poison_suspect:
            self._poison_suspect = None  # it has ended, so other tasks may start again
        self._woken.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("task=%s: its end is not recorded", claim.task_id, exc_info=error)

    # --- the database -------------------------------------------------------------------------

    async def _try(self, work: Callable[..., T], *arguments: Any) -> T | None:
        """Run a database operation that is repeated soon; return None in an outage, logged once."""
        try:
            done = await sync_to_async(afresh)(work, *arguments)
        except DatabaseError as error:
            if not self._is_troubled:
                logger.error("the queue waits for the database: %s", scrub(str(error)))  # noqa: TRY400 - a traceback would not help
            self._is_troubled = True
            return None
        if self._is_troubled:
            logger.info("the database answers the queue again")
            self._is_troubled = False
        return done

    async def _surely(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run a database operation, retrying until the database allows it."""
        async for attempt in stamina.retry_context(
            on=DatabaseError, attempts=None, timeout=None, wait_initial=0.1, wait_max=2.0
        ):
            with attempt:
                return await sync_to_async(afresh)(work, *arguments)
        raise AssertionError("the loop above returns or raises")


def claim_died(claim: Claim) -> str:
    """Return the error text for a task whose worker died every time."""
    return f"its worker died {claim.delivery_count - 1} times while working on it"
