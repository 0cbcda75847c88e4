"""The rows behind a queue: each change of hands is one conditional UPDATE, and its count decides.

Every write by a worker names the token of its attempt. No row updated means that another worker
has taken over; what the late one comes to is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from agents.llm.secrets import scrub
from pipeline.models.inbox import OPEN, Task, TaskKind, TaskStatus
from pipeline.queue import pastes
from pipeline.queue.base import (
    COURTESIES,
    COURTESY_LASTS,
    MAX_ATTEMPTS,
    SUSPECT_AFTER,
    Claim,
    Claimed,
    Failure,
)

LEASE = timedelta(seconds=10)
MAX_PAUSE = timedelta(seconds=60)  # before a failed task is tried again
MAX_SMALL_INT = 2**15
MAX_ERROR, MAX_ERROR_TYPE = 2000, 100  # characters of an error that are kept
NO_FAILURE = Failure()


# What is ready, in one statement: of each kind the oldest, and beside them the oldest suspects.
# - A task due far ahead was put off by a clock that has been set back since.
# - A message waits for those before it in its lane; courtesies that are suspects are dropped.
_READY = """
    SELECT * FROM (
        SELECT task.*, ROW_NUMBER() OVER (
            PARTITION BY kind, attempts >= %(suspect_after)s AND due_at IS NULL ORDER BY id
        ) AS position
        FROM pipeline_task AS task
        WHERE status = 'waiting' AND kind IN (KINDS)
          AND (due_at IS NULL OR due_at <= %(now)s OR due_at > %(too_far)s)
          AND (kind = 'notice' OR due_at IS NOT NULL OR attempts < %(suspect_after)s
               OR attempts < %(waits_from)s OR attempts >= %(waits_below)s)
          AND (kind <> 'message' OR NOT EXISTS (
              SELECT 1 FROM pipeline_task AS earlier
               WHERE earlier.status IN ('waiting', 'running') AND earlier.kind = 'message'
                 AND earlier.lane = task.lane AND earlier.id < task.id))
    ) AS ready WHERE position <= %(at_most)s ORDER BY id"""


class TaskStore:
    """What one worker has in hand, and how it comes by more."""

    def __init__(self, worker: str, clock: Callable[[], datetime]) -> None:
        """`worker` names the place, not the process: its successor finds what was left behind."""
        self._worker = worker
        self._clock = clock

    def add(self, tasks: Sequence[Task]) -> None:
        """Add tasks in the caller's transaction."""
        Task.objects.bulk_create(tasks)

    def claim(self, room: Mapping[TaskKind, int], *, most_deaths: int = MAX_ATTEMPTS) -> Claimed:
        """Claim what can be worked on now, oldest first, at most so many of each kind.

        One statement finds what is ready; a look that finds nothing costs no transaction.

        Of the tasks that may be what kills workers, one in each call: then the innocent ones, which
        only were there when it happened, do not share its fate. None whose workers died more than
        `most_deaths` times (see `too_many`); with 0, none at all.
        """
        now = self._clock()
        ready = _ready(room, now, most_deaths)
        return Claimed(self._claimed(ready, room, now) if ready else [])

    @transaction.atomic
    def _claimed(
        self, ready: Sequence[Task], room: Mapping[TaskKind, int], now: datetime
    ) -> list[Claim]:
        claims: list[Claim] = []
        for kind, count in room.items():
            of_kind = [task for task in ready if task.kind == kind]
            if kind in COURTESIES:
                claims += self._courtesies(of_kind[:count], now)
                continue
            wanted = [task for task in of_kind if is_suspect(task)][:1]
            wanted += [task for task in of_kind if not is_suspect(task)][: count - len(wanted)]
            for task in wanted:
                claimed = self._take(task, now, is_rush=len(wanted) == count)
                if claimed is not None:
                    claims.append(claimed)
                    if claimed.is_suspect:
                        return claims
        return claims

    def _courtesies(self, tasks: Iterable[Task], now: datetime) -> Iterator[Claim]:
        for task in tasks:
            if is_out_of_place(task, now):
                self._drop(task, now)
            elif (claimed := self._take(task, now)) is not None:
                yield claimed

    def _drop(self, task: Task, now: datetime) -> None:
        """End a task without a turn."""
        waiting = Task.objects.filter(pk=task.pk, status=TaskStatus.WAITING)
        waiting.update(status=TaskStatus.IGNORED, ended_at=now)

    def _take(
        self, task: Task, now: datetime, job_id: int | None = None, *, is_rush: bool = False
    ) -> Claim | None:
        """Return the claim to a task, None if another worker was there first."""
        token = uuid4()
        # As it was read: since then, another worker may have had it, or a task before it in its
        # lane may have been given a new life.
        unchanged = Task.objects.filter(
            pk=task.pk, status=TaskStatus.WAITING, attempts=task.attempts
        )
        if task.kind == TaskKind.MESSAGE:
            unchanged = unchanged.exclude(Exists(_before_in_its_lane()))
        won = unchanged.update(
            status=TaskStatus.RUNNING,
            token=token,
            worker=self._worker,
            attempts=F("attempts") + 1,
            lease_until=now + LEASE,
        )
        if not won or (task.is_paste and not task.worker and self._may_go_on(task, now)):
            return None
        claimed = Claim(
            task_id=task.pk,
            kind=TaskKind(task.kind),
            update_id=task.update_id,
            step_id=task.step_id,
            run_id=task.run_id,
            token=token,
            attempt=task.attempts + 1,
            is_suspect=is_suspect(task),
            is_rush=is_rush,
            job_id=job_id,
        )
        if task.stop_requested:
            claimed.stop.set()
        return claimed

    def _may_go_on(self, task: Task, now: datetime) -> bool:
        """Merge a paste at its first claim; release it while another part may still come."""
        until = pastes.gather(task, now)
        if until is None:
            return False
        Task.objects.filter(pk=task.pk).update(
            status=TaskStatus.WAITING,
            token=None,
            worker="",
            attempts=F("attempts") - 1,
            lease_until=None,
            due_at=until,
        )
        return True

    # --- what is in hand ----------------------------------------------------------------------

    def attempts_of(self, held: Claim) -> int | None:
        """Return how many attempts a task has had since it got further; None if it is not ours."""
        return _held(held).values_list("attempts", flat=True).first()

    def end(self, held: Claim, status: TaskStatus, failure: Failure = NO_FAILURE) -> bool:
        """Close a task for good; False when it is somebody else's by now."""
        return _change(held, status=status, **_columns(failure), token=None, ended_at=self._clock())

    def put_back(
        self, held: Claim, failure: Failure, pause: timedelta, *, counts: bool = True
    ) -> datetime | None:
        """Have a task tried again after a pause; return when, None if it is somebody else's by now.

        Without `counts` this attempt is none of those that a task has: the task is not to blame.
        """
        due_at = self._clock() + pause
        is_ours = _change(
            held,
            status=TaskStatus.WAITING,
            **_columns(failure),
            token=None,
            due_at=due_at,
            attempts=F("attempts") - (0 if counts else 1),
        )
        return due_at if is_ours else None

    def hand_back(self, held: Claim) -> bool:
        """Leave a task to the next worker, as if this one had never had it."""
        return _change(held, status=TaskStatus.WAITING, token=None, attempts=F("attempts") - 1)

    def renew(self, tokens: Collection[UUID]) -> datetime:
        """Prove that the worker of these claims lives; return when."""
        now = self._clock()
        Task.objects.filter(
            worker=self._worker, token__in=tokens, status=TaskStatus.RUNNING
        ).update(lease_until=now + LEASE)
        return now

    def look(self, task_ids: Collection[int]) -> dict[int, tuple[UUID | None, bool]]:
        """Return who holds each task, and whether it is to be stopped."""
        rows = Task.objects.filter(pk__in=task_ids).values_list("pk", "token", "stop_requested")
        return {pk: (token, stop) for pk, token, stop in rows}

    # --- what was in other hands --------------------------------------------------------------

    def free_mine(self) -> int:
        """Free what an earlier process of this very worker had in hand; only at its start."""
        return self._free(Task.objects.filter(worker=self._worker))

    def free_expired(self, tokens: Collection[UUID]) -> int:
        """Free what nobody proves to have in hand; return how much there is to do.

        Not these tokens, which this worker has: a clock that jumped ahead makes every lease look
        old. But what this worker claimed without ever hearing of it, when the database went away.
        """
        expired = Task.objects.filter(lease_until__lt=self._clock()).exclude(token__in=tokens)
        return self._free(expired)

    def _free(self, tasks: QuerySet[Task]) -> int:
        return free(tasks)


def is_suspect(task: Task) -> bool:
    """Tell whether workers died while they worked on a task: it may be what kills them."""
    return task.attempts >= SUSPECT_AFTER and task.due_at is None


def is_out_of_place(task: Task, now: datetime) -> bool:
    """Tell whether a courtesy comes too late, or workers have died of it or beside it."""
    return is_suspect(task) or now - task.created_at > COURTESY_LASTS


def too_many(most_deaths: int) -> range:
    """Return the counts of deaths that make a suspect wait; after all attempts it is given up."""
    return range(most_deaths + 1, MAX_ATTEMPTS)


def free(tasks: QuerySet[Task]) -> int:
    """Have tasks wait for another worker, those of them that still are in hand."""
    return tasks.filter(status=TaskStatus.RUNNING).update(
        status=TaskStatus.WAITING, token=None, due_at=None
    )


def _ready(room: Mapping[TaskKind, int], now: datetime, most_deaths: int) -> list[Task]:
    """Return the tasks that can be worked on now, the oldest of each kind, suspects among them."""
    kinds = {f"kind_{at}": kind for at, kind in enumerate(room) if room[kind] > 0}
    if not kinds:
        return []
    waiting = too_many(most_deaths) if most_deaths else range(MAX_SMALL_INT)
    as_column = connection.ops.adapt_datetimefield_value
    arguments = {
        **kinds,
        "now": as_column(now),
        "too_far": as_column(now + MAX_PAUSE),
        "suspect_after": SUSPECT_AFTER,
        "waits_from": waiting.start,
        "waits_below": waiting.stop,
        "at_most": max(room.values()),
    }
    names = ", ".join(f"%({name})s" for name in kinds)
    return list(Task.objects.raw(_READY.replace("KINDS", names), arguments))


def _before_in_its_lane() -> QuerySet[Task]:
    return Task.objects.filter(
        kind=TaskKind.MESSAGE, status__in=OPEN, lane=OuterRef("lane"), pk__lt=OuterRef("pk")
    )


def _held(held: Claim) -> QuerySet[Task]:
    return Task.objects.filter(pk=held.task_id, token=held.token, status=TaskStatus.RUNNING)


def _change(held: Claim, **fields: object) -> bool:
    return _held(held).update(**fields) == 1


def try_again(task: Task) -> bool:
    """Give a task that was given up a new life; False when it is not dead (any more)."""
    dead = Task.objects.filter(pk=task.pk, status=TaskStatus.DEAD)
    return (
        dead.update(
            status=TaskStatus.WAITING,
            attempts=0,
            due_at=timezone.now(),
            ended_at=None,
            stop_requested=False,
        )
        == 1
    )


def request_stop(chat_id: int, user_id: int, lane: str) -> bool:
    """Ask to stop this person's oldest open message of a lane; False if there is none."""
    mine = Task.objects.filter(
        update__chat_id=chat_id, update__user_id=user_id, lane=lane, kind=TaskKind.MESSAGE
    )
    oldest = mine.filter(status__in=OPEN, stop_requested=False).order_by("pk").first()
    if oldest is None:
        return False
    return Task.objects.filter(pk=oldest.pk, status__in=OPEN).update(stop_requested=True) == 1


def _columns(failure: Failure) -> dict[str, str]:
    words = scrub(failure.error).replace("\x00", "")
    return {"error": words[:MAX_ERROR], "error_type": failure.error_type[:MAX_ERROR_TYPE]}
