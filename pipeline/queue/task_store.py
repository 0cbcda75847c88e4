"""The rows behind the queue: a task changes owner by one conditional UPDATE, whose count decides.

Every write by a worker names the token of its attempt. If no row is updated, another worker has
taken over, and the result of the late one is dropped.
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
    POISON_SUSPECT_AFTER,
    Claim,
    Claimed,
    Failure,
)

LEASE = timedelta(seconds=10)
MAX_PAUSE = timedelta(seconds=60)  # before a failed task is tried again
MAX_SMALL_INT = 2**15
MAX_ERROR, MAX_ERROR_TYPE = 2000, 100  # stored characters of an error
NO_FAILURE = Failure()


# The tasks that are ready, in one statement: the oldest of each kind, and also the oldest suspects.
# - A task that is due far ahead is ready too: the clock has been set back since it was put off.
# - A message waits for the earlier ones in its lane; notices that are suspects are found, to be
#   dropped.
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
    """Claims tasks for one worker, and writes the state of the tasks it has claimed."""

    def __init__(self, worker: str, clock: Callable[[], datetime]) -> None:
        """`worker` names the place, not the process, so that its successor finds its tasks."""
        self._worker = worker
        self._clock = clock

    def add(self, tasks: Sequence[Task]) -> None:
        """Add tasks in the caller's transaction."""
        Task.objects.bulk_create(tasks)

    def claim(self, room: Mapping[TaskKind, int], *, most_deaths: int = MAX_ATTEMPTS) -> Claimed:
        """Claim the tasks that can be worked on now, oldest first, up to `room` of each kind.

        One statement finds them; if there are none, no transaction is opened.

        Each call claims at most one suspect, a task that may be what kills workers, so that tasks
        that merely ran at the same time do not share its fate. A suspect whose workers died more
        than `most_deaths` times is not claimed (see `too_many`); with 0, no suspect is.
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
            wanted = [task for task in of_kind if is_poison_suspect(task)][:1]
            wanted += [task for task in of_kind if not is_poison_suspect(task)][
                : count - len(wanted)
            ]
            for task in wanted:
                claimed = self._take(task, now, is_rush=len(wanted) == count)
                if claimed is not None:
                    claims.append(claimed)
                    if claimed.is_poison_suspect:
                        return claims
        return claims

    def _courtesies(self, tasks: Iterable[Task], now: datetime) -> Iterator[Claim]:
        for task in tasks:
            if is_out_of_place(task, now):
                self._drop(task, now)
            elif (claimed := self._take(task, now)) is not None:
                yield claimed

    def _drop(self, task: Task, now: datetime) -> None:
        """End a task without running it."""
        waiting = Task.objects.filter(pk=task.pk, status=TaskStatus.READY)
        waiting.update(status=TaskStatus.IGNORED, ended_at=now)

    def _take(
        self, task: Task, now: datetime, job_id: int | None = None, *, is_rush: bool = False
    ) -> Claim | None:
        """Return the claim to a task; None if another worker was first or a part is to come."""
        token = uuid4()
        # Only if unchanged: since it was read, another worker may have had it, or an operator may
        # have revived an earlier task in its lane. A job's lock keeps the order of a lane itself,
        # and the job of a revived task comes last: to wait for that task would block the lane.
        unchanged = Task.objects.filter(
            pk=task.pk, status=TaskStatus.READY, delivery_count=task.delivery_count
        )
        if task.kind == TaskKind.MESSAGE and job_id is None:
            unchanged = unchanged.exclude(Exists(_before_in_its_lane()))
        won = unchanged.update(
            status=TaskStatus.RUNNING,
            token=token,
            worker=self._worker,
            delivery_count=F("delivery_count") + 1,
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
            delivery_count=task.delivery_count + 1,
            is_poison_suspect=is_poison_suspect(task),
            is_rush=is_rush,
            job_id=job_id,
        )
        if task.stop_requested:
            claimed.stop.set()
        return claimed

    def _may_go_on(self, task: Task, now: datetime) -> bool:
        """Merge a paste at its first claim; release it (True) while a part may still come."""
        until = pastes.gather(task, now)
        if until is None:
            return False
        Task.objects.filter(pk=task.pk).update(
            status=TaskStatus.READY,
            token=None,
            worker="",
            delivery_count=F("delivery_count") - 1,
            lease_until=None,
            due_at=until,
        )
        return True

    # --- claimed tasks ------------------------------------------------------------------------

    def delivery_count_of(self, held: Claim) -> int | None:
        """Return the deliveries since the task's last progress; None if another worker has it."""
        return _held(held).values_list("delivery_count", flat=True).first()

    def end(self, held: Claim, status: TaskStatus, failure: Failure = NO_FAILURE) -> bool:
        """Close a task for good; False if another worker has it now."""
        return _change(held, status=status, **_columns(failure), token=None, ended_at=self._clock())

    def put_back(
        self, held: Claim, failure: Failure, pause: timedelta, *, counts: bool = True
    ) -> datetime | None:
        """Queue a task again after a pause; return when it is due, None if another worker has it.

        With `counts=False` this attempt does not count, because the task is not to blame.
        """
        due_at = self._clock() + pause
        is_ours = _change(
            held,
            status=TaskStatus.READY,
            **_columns(failure),
            token=None,
            due_at=due_at,
            delivery_count=F("delivery_count") - (0 if counts else 1),
        )
        return due_at if is_ours else None

    def hand_back(self, held: Claim) -> bool:
        """Leave a task to the next worker, as if this one had never claimed it."""
        return _change(
            held, status=TaskStatus.READY, token=None, delivery_count=F("delivery_count") - 1
        )

    def renew(self, tokens: Collection[UUID]) -> datetime:
        """Renew the leases of the claims with these tokens; return the time of the renewal."""
        now = self._clock()
        Task.objects.filter(
            worker=self._worker, token__in=tokens, status=TaskStatus.RUNNING
        ).update(lease_until=now + LEASE)
        return now

    def look(self, task_ids: Collection[int]) -> dict[int, tuple[UUID | None, bool]]:
        """Return, by task id, each task's current token and whether a stop was requested."""
        rows = Task.objects.filter(pk__in=task_ids).values_list("pk", "token", "stop_requested")
        return {pk: (token, stop) for pk, token, stop in rows}

    # --- abandoned tasks ----------------------------------------------------------------------

    def free_mine(self) -> int:
        """Free the tasks of this worker's previous process; call it only at the start."""
        return self._free(Task.objects.filter(worker=self._worker))

    def free_expired(self, tokens: Collection[UUID]) -> int:
        """Free the tasks whose leases have expired; return their number.

        Tasks with these tokens are this worker's and stay: a clock that jumped ahead makes every
        lease look expired. A task that this worker claimed without learning of it, because the
        database went away, is freed.
        """
        expired = Task.objects.filter(lease_until__lt=self._clock()).exclude(token__in=tokens)
        return self._free(expired)

    def _free(self, tasks: QuerySet[Task]) -> int:
        return free(tasks)


def is_poison_suspect(task: Task) -> bool:
    """Tell whether workers died while working on a task, so that it may be the cause."""
    return task.delivery_count >= POISON_SUSPECT_AFTER and task.due_at is None


def is_out_of_place(task: Task, now: datetime) -> bool:
    """Tell whether a courtesy is too late, or workers died because of it or while it ran."""
    return is_poison_suspect(task) or now - task.created_at > COURTESY_LASTS


def too_many(most_deaths: int) -> range:
    """Return the death counts at which a suspect waits; from `MAX_ATTEMPTS` on it is given up."""
    return range(most_deaths + 1, MAX_ATTEMPTS)


def free(tasks: QuerySet[Task]) -> int:
    """Queue again those of the tasks that are still running; return their number."""
    return tasks.filter(status=TaskStatus.RUNNING).update(
        status=TaskStatus.READY, token=None, due_at=None
    )


def _ready(room: Mapping[TaskKind, int], now: datetime, most_deaths: int) -> list[Task]:
    """Return the tasks that can be claimed now, the oldest of each kind, suspects included."""
    kinds = {f"kind_{at}": kind for at, kind in enumerate(room) if room[kind] > 0}
    if not kinds:
        return []
    waiting = too_many(most_deaths) if most_deaths else range(MAX_SMALL_INT)
    as_column = connection.ops.adapt_datetimefield_value
    arguments = {
        **kinds,
        "now": as_column(now),
        "too_far": as_column(now + MAX_PAUSE),
        "suspect_after": POISON_SUSPECT_AFTER,
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
    """Queue a dead task again; False if it is not dead, or no longer."""
    dead = Task.objects.filter(pk=task.pk, status=TaskStatus.DEAD_LETTER)
    return (
        dead.update(
            status=TaskStatus.READY,
            delivery_count=0,
            due_at=timezone.now(),
            ended_at=None,
            stop_requested=False,
        )
        == 1
    )


def request_stop(chat_id: int, user_id: int, lane: str) -> bool:
    """Request a stop of this person's oldest open message in a lane; False if there is none."""
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
