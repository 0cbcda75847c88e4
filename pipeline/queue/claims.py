"""The rows behind a queue: each change of hands is one conditional UPDATE, and its count decides.

Every write by a worker names the token of its attempt. No row updated means that another worker
has taken over; what the late one comes to is dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import F, Min, Q, QuerySet
from django.utils import timezone

from agents.llm.keys import scrub
from pipeline.models.inbox import OPEN, Task, TaskKind, TaskStatus
from pipeline.queue.base import SUSPECT_AFTER, Claim

LEASE = timedelta(seconds=30)
MAX_PAUSE = timedelta(seconds=60)  # before a failed task is tried again
MAX_ERROR = 2000  # characters of an error that are kept


# A task that was put back has a due time; one that still has none was in hand when a worker died.
_SUSPECT = Q(attempts__gte=SUSPECT_AFTER, due_at=None)


@transaction.atomic
def claim(
    worker: str, room: Mapping[TaskKind, int], now: datetime, *, has_suspect: bool = False
) -> list[Claim]:
    """Claim what can be worked on now, oldest first, at most so many of each kind.

    Of the tasks that may be what kills workers, one at a time: then the innocent ones, which only
    were there when it happened, do not share its fate.
    """
    claims: list[Claim] = []
    for kind, count in room.items():
        if count <= 0:
            continue
        ready = _ready(kind, now)
        # The suspect goes first: it must have time to get somewhere before the next death.
        wanted = [] if has_suspect else list(ready.filter(_SUSPECT)[:1])
        wanted += ready.exclude(_SUSPECT)[: count - len(wanted)]
        for task in wanted:
            claimed = _claimed(task, worker, now)
            if claimed is not None:
                claims.append(claimed)
                has_suspect = has_suspect or claimed.is_suspect
    return claims


def _ready(kind: TaskKind, now: datetime) -> QuerySet[Task]:
    # A task due far ahead was put off by a clock that has been set back since.
    is_due = Q(due_at=None) | Q(due_at__lte=now) | Q(due_at__gt=now + MAX_PAUSE)
    ready = Task.objects.filter(is_due, kind=kind, status=TaskStatus.WAITING).order_by("pk")
    if kind is TaskKind.MESSAGE:
        lanes = Task.objects.filter(kind=kind, status__in=OPEN).values("lane").order_by()
        ready = ready.filter(pk__in=lanes.annotate(first=Min("pk")).values("first"))
    return ready


def _claimed(task: Task, worker: str, now: datetime) -> Claim | None:
    """Return the claim, None if another worker was there first."""
    token = uuid4()
    won = Task.objects.filter(pk=task.pk, status=TaskStatus.WAITING).update(
        status=TaskStatus.RUNNING,
        token=token,
        worker=worker,
        attempts=F("attempts") + 1,
        lease_until=now + LEASE,
    )
    if not won:
        return None
    claimed = Claim(
        task_id=task.pk,
        kind=TaskKind(task.kind),
        update_id=task.update_id,
        step_id=task.step_id,
        token=token,
        attempt=task.attempts + 1,
        is_suspect=task.attempts >= SUSPECT_AFTER and task.due_at is None,
    )
    if task.stop_requested:
        claimed.stop.set()
    return claimed


def attempts_of(held: Claim) -> int | None:
    """Return how many attempts a task has had since it got further; None if it is somebody else's."""
    mine = Task.objects.filter(pk=held.task_id, token=held.token, status=TaskStatus.RUNNING)
    return mine.values_list("attempts", flat=True).first()


def end(held: Claim, status: TaskStatus, now: datetime, error: str = "") -> bool:
    """Close a task for good; False when it is somebody else's by now."""
    return _change(held, status=status, error=_kept(error), token=None, ended_at=now)


def put_back(held: Claim, error: str, due_at: datetime, *, counts: bool = True) -> bool:
    """Have a task tried again, not before `due_at`; False when it is somebody else's by now.

    Without `counts` this attempt is none of those that a task has: the task is not to blame.
    """
    return _change(
        held,
        status=TaskStatus.WAITING,
        error=_kept(error),
        token=None,
        due_at=due_at,
        attempts=F("attempts") - (0 if counts else 1),
    )


def hand_back(held: Claim) -> bool:
    """Leave a task to the next worker, as if this one had never had it."""
    return _change(held, status=TaskStatus.WAITING, token=None, attempts=F("attempts") - 1)


def _change(held: Claim, **fields: object) -> bool:
    mine = Task.objects.filter(pk=held.task_id, token=held.token, status=TaskStatus.RUNNING)
    return mine.update(**fields) == 1


def renew(worker: str, tokens: Collection[UUID], now: datetime) -> None:
    """Prove that the worker of these claims lives."""
    Task.objects.filter(worker=worker, token__in=tokens, status=TaskStatus.RUNNING).update(
        lease_until=now + LEASE
    )


def look(task_ids: Collection[int]) -> dict[int, tuple[UUID | None, bool]]:
    """Return who holds each task, and whether it is to be stopped."""
    rows = Task.objects.filter(pk__in=task_ids).values_list("pk", "token", "stop_requested")
    return {pk: (token, stop) for pk, token, stop in rows}


def free_mine(worker: str) -> int:
    """Free what an earlier process of this very worker had in hand; only at its start."""
    return _free(Task.objects.filter(worker=worker))


def free_expired(worker: str, now: datetime) -> int:
    """Free what other workers had in hand when they fell silent."""
    # Not its own: a clock that jumped ahead makes every lease look old.
    return _free(Task.objects.filter(lease_until__lt=now).exclude(worker=worker))


def _free(tasks: QuerySet[Task]) -> int:
    return tasks.filter(status=TaskStatus.RUNNING).update(
        status=TaskStatus.WAITING, token=None, due_at=None
    )


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
    """Ask for the end of what this person's oldest open message of a lane does; False without one."""
    mine = Task.objects.filter(
        update__chat_id=chat_id, update__user_id=user_id, lane=lane, kind=TaskKind.MESSAGE
    )
    oldest = mine.filter(status__in=OPEN, stop_requested=False).order_by("pk").first()
    if oldest is None:
        return False
    return Task.objects.filter(pk=oldest.pk, status__in=OPEN).update(stop_requested=True) == 1


def _kept(error: str) -> str:
    return scrub(error.replace("\x00", ""))[:MAX_ERROR]
