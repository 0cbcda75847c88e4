"""Rows that a queue's tasks are about, and hands that do with each task what a test wants."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from itertools import count
from uuid import uuid4

from django.utils import timezone

from pipeline.models import PipelineRun, StepRun, Task, TelegramUpdate
from pipeline.models.inbox import TaskKind, TaskStatus
from pipeline.models.runs import Source, StepStatus
from pipeline.queue import pastes
from pipeline.queue.base import Claim

BOT_ID = 7000000001
PATIENCE_S = 60.0

Play = Callable[[Claim], Awaitable[TaskStatus]]
_update_ids = count(1)


class Clock:
    """A clock that a test puts forward and back, and that may run faster than the real one."""

    def __init__(self, *, rate: float = 1.0, ahead: timedelta = timedelta()) -> None:
        self._rate = rate
        self._began_at = time.monotonic()
        self._base = timezone.now() + ahead

    def __call__(self) -> datetime:
        return self._base + timedelta(seconds=(time.monotonic() - self._began_at) * self._rate)

    def jump(self, by: timedelta) -> None:
        self._base += by


class Hands:
    """What workers do with their tasks; several may share one, to be counted together."""

    def __init__(self) -> None:
        self.plays: dict[object, Play] = {}
        self.began: list[object] = []
        self.ended: list[object] = []
        self.cancelled: list[object] = []
        self.given_up: list[tuple[object, str]] = []
        self.claims: dict[object, Claim] = {}
        self.most_at_once: Counter[str] = Counter()
        self._at_once: Counter[str] = Counter()

    def play(self, task: Task, play: Play) -> None:
        """Have a task done in this way; without it a task is done at once."""
        self.plays[subject(task)] = play

    async def has_begun(self, task: Task, *, times: int = 1) -> None:
        """Return once a task has been begun so often."""
        await true(lambda: self.began.count(subject(task)) >= times)

    async def perform(self, claim: Claim) -> TaskStatus:
        what: object = claim.update_id or claim.step_id or claim.run_id
        self.began.append(what)
        self.claims[what] = claim
        self._at_once[claim.kind] += 1
        self.most_at_once |= self._at_once
        try:
            status = await self.plays.get(what, done)(claim)
        except asyncio.CancelledError:
            self.cancelled.append(what)
            raise
        finally:
            self._at_once[claim.kind] -= 1
        self.ended.append(what)
        return status

    async def give_up(self, claim: Claim, why: str) -> None:
        self.given_up.append((claim.update_id or claim.step_id or claim.run_id, why))


def subject(task: Task) -> object:
    """Return what a task is about, which is known before it is added."""
    return task.update_id or task.step_id or task.run_id


async def done(claim: Claim) -> TaskStatus:
    return TaskStatus.SUCCESSFUL


async def hanging(claim: Claim) -> TaskStatus:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets that event")


def raising(error: Exception) -> Play:
    async def play(claim: Claim) -> TaskStatus:
        raise error

    return play


def after(event: asyncio.Event, status: TaskStatus = TaskStatus.SUCCESSFUL) -> Play:
    """Return work that ends once the event is set."""

    async def play(claim: Claim) -> TaskStatus:
        await event.wait()
        return status

    return play


async def message(lane: str = "1:", *, user_id: int = 1) -> Task:
    """Return an unsaved task about a stored message."""
    return Task(kind=TaskKind.MESSAGE, lane=lane, update=await stored(lane, user_id))


async def said(lane: str, text: str, *, user_id: int = 1, **more: object) -> Task:
    """Return an unsaved task about a stored message with a text, as intake makes one."""
    said_now = {"message_id": next(_update_ids), "date": int(time.time()), "text": text, **more}
    update = await stored(lane, user_id, raw=json.dumps({"message": said_now}))
    is_paste = pastes.may_go_on(said_now)
    due_at = update.received_at + pastes.WAIT if is_paste else None
    return Task(kind=TaskKind.MESSAGE, lane=lane, update=update, is_paste=is_paste, due_at=due_at)


async def control() -> Task:
    return Task(kind=TaskKind.CONTROL, update=await stored())


async def notice(lane: str = "1:") -> Task:
    return Task(kind=TaskKind.NOTICE, lane=lane, update=await stored(lane))


async def stored(lane: str = "1:", user_id: int = 1, raw: str = "{}") -> TelegramUpdate:
    return await TelegramUpdate.objects.acreate(
        bot_id=BOT_ID,
        update_id=next(_update_ids),
        kind="message",
        chat_id=int(lane.partition(":")[0]),
        user_id=user_id,
        raw=raw,
    )


async def background_step() -> Task:
    run = await PipelineRun.objects.acreate(
        pipeline="support", source=Source.TELEGRAM, started_at=timezone.now()
    )
    step = await StepRun.objects.acreate(
        id=uuid4(),
        run=run,
        position=2,
        agent="memory",
        mode="background",
        status=StepStatus.WAITING,
        started_at=timezone.now(),
    )
    return Task(kind=TaskKind.STEP, step=step)


async def rerun() -> Task:
    run = await PipelineRun.objects.acreate(
        pipeline="support", source=Source.RERUN, started_at=timezone.now()
    )
    return Task(kind=TaskKind.RERUN, run=run)


async def true(condition: Callable[[], object]) -> None:
    """Return as soon as the condition holds.

    Raises:
        AssertionError: it did not for 60 s.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "what was waited for never came"
        await asyncio.sleep(0.01)


async def ended(*tasks: Task) -> list[TaskStatus]:
    """Return how tasks ended, as soon as all of them have."""
    deadline = time.monotonic() + PATIENCE_S
    wanted = [task.pk for task in tasks]
    while await Task.objects.filter(pk__in=wanted, ended_at=None).aexists():
        assert time.monotonic() < deadline, "a task never ended"
        await asyncio.sleep(0.01)
    rows = {row.pk: TaskStatus(row.status) async for row in Task.objects.filter(pk__in=wanted)}
    return [rows[pk] for pk in wanted]


async def put_back(task: Task) -> None:
    """Return when a failed task waits for its next attempt."""
    waiting = Task.objects.filter(pk=task.pk, status=TaskStatus.READY).exclude(due_at=None)
    deadline = time.monotonic() + PATIENCE_S
    while not await waiting.aexists():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
