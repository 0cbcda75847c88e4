"""The backend for many machines: procrastinate's jobs on PostgreSQL decide which task is next.

Each task has one job, added in the same transaction; the job's lock is the task's lane. Job and
task also change state in one transaction, so they never disagree: a waiting task has a "todo" job,
a running task a "doing" job, an ended task none. Fetching, locks, retries and notifications are
the library's, but its worker is not used: it stops at the first outage, and the jobs that it then
waits for lose their heartbeat and are presumed dead.

https://procrastinate.readthedocs.io/en/stable/discussions.html
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from django.db import DatabaseError, OperationalError, connection, transaction
from django.db.models import QuerySet
from procrastinate import sql
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.contrib.django.utils import connector_params
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job
from procrastinate.manager import JobManager

from agents.llm.secrets import scrub
from pipeline.models.inbox import Task, TaskKind, TaskStatus
from pipeline.queue import pastes
from pipeline.queue.base import COURTESIES, MAX_ATTEMPTS, TIMINGS, Claim, Claimed, Failure, Timings
from pipeline.queue.dispatcher import Dispatcher
from pipeline.queue.task_store import (
    NO_FAILURE,
    TaskStore,
    free,
    is_out_of_place,
    is_poison_suspect,
    too_many,
)

logger = logging.getLogger(__name__)

TASK_NAME = "pipeline.task"
FETCH_EVERY_S = 0.2  # there is no notification when a lock is released
FETCHED_AT_ONCE = 4  # of a kind, so that other workers get their share
SUSPECT_PAUSE = timedelta(seconds=0.5)
UNCLAIMED_PAUSE = timedelta(seconds=0.1)  # another worker was first, or a part is still to come
LISTEN_AGAIN_S = 1.0
SIGN_OF_LIFE_S = 30.0  # after this time a connection that died silently is noticed
# The order in which kinds are fetched. Messages have the library's default, because messages that
# the previous release added to a lane must stay ahead of those that this release adds.
PRIORITIES = {
    TaskKind.CONTROL: 1,
    TaskKind.MESSAGE: 0,
    TaskKind.GREETING: -1,
    TaskKind.STEP: -2,
    TaskKind.RERUN: -3,
    TaskKind.NOTICE: -4,
}
_CONNECTOR = DjangoConnector()  # jobs are written on Django's connection, in its transaction
_JOBS = JobManager(_CONNECTOR)

# Waiting tasks without a job: retried by an operator, or added by another backend.
_WITHOUT_A_JOB = """
    SELECT task.id FROM pipeline_task AS task
     WHERE task.status = 'waiting' AND NOT EXISTS (
           SELECT 1 FROM procrastinate_jobs AS job
            WHERE job.status IN ('todo', 'doing') AND (job.args->>'task_id')::bigint = task.id)
     ORDER BY task.id LIMIT 500"""
_IN_HAND = """
    SELECT id FROM procrastinate_jobs
     WHERE status = 'doing' AND (args->>'task_id')::bigint = ANY(%(tasks)s)"""
# Jobs in progress without a running task: the task was erased, or the rows were edited by hand.
_WITHOUT_A_TASK = """
    SELECT job.id FROM procrastinate_jobs AS job
     WHERE job.status = 'doing' AND job.task_name = %(name)s AND NOT EXISTS (
           SELECT 1 FROM pipeline_task AS task
            WHERE task.id = (job.args->>'task_id')::bigint AND task.status = 'running')"""


class ProcrastinateQueue(Dispatcher):
    """A queue that any number of processes work on, on any number of machines."""

    def __init__(
        self,
        worker: str,
        *,
        clock: Callable[[], datetime] | None = None,
        timings: Timings = TIMINGS,
    ) -> None:
        """Leases use the database's clock by default, because machines' clocks differ."""
        polling_s = min(timings.poll_interval_s, FETCH_EVERY_S)
        timings = replace(timings, poll_interval_s=polling_s)
        super().__init__(LockedTaskStore(worker, clock or _database_time), timings)

    def _more_loops(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        return (self._listen,)

    async def _listen(self) -> None:
        """Wake the queue whenever a job is added anywhere; polling would find it a little later."""
        is_deaf = False
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    **connector_params(), autocommit=True
                ) as listening:
                    await listening.execute("LISTEN procrastinate_any_queue_v1")
                    is_deaf = False
                    while True:
                        async for _ in listening.notifies(timeout=SIGN_OF_LIFE_S):
                            self._woken.set()
                        await listening.execute("SELECT 1")
            except (psycopg.Error, OSError) as error:
                if not is_deaf:
                    logger.warning("new jobs are not announced: %s", scrub(str(error)).strip())
                is_deaf = True
                await asyncio.sleep(LISTEN_AGAIN_S)


class LockedTaskStore(TaskStore):
    """A `TaskStore` with one job per task; both change in one transaction."""

    def add(self, tasks: Sequence[Task]) -> None:
        """Add tasks and their jobs in the caller's transaction."""
        super().add(tasks)
        _defer(tasks)

    def claim(self, room: Mapping[TaskKind, int], *, most_deaths: int = MAX_ATTEMPTS) -> Claimed:
        """Claim the tasks that can be worked on now; see `TaskStore.claim`."""
        claims: list[Claim] = []
        left = {kind: count for kind, count in room.items() if count > 0}
        share = dict.fromkeys(left, FETCHED_AT_ONCE)
        try:
            while kinds := [kind for kind in left if left[kind] > 0 < share[kind]]:
                kind, claimed = self._fetch(kinds, left, most_deaths=most_deaths)
                if kind is None:
                    return Claimed(claims)
                share[kind] -= 1
                if claimed is not None:
                    left[kind] -= 1
                    claims.append(claimed)
                    if claimed.is_poison_suspect:
                        break
        except DatabaseError:
            if not claims:
                raise
        return Claimed(claims, is_more=bool(claims))

    @transaction.atomic
    def _fetch(
        self, kinds: Sequence[TaskKind], left: Mapping[TaskKind, int], *, most_deaths: int
    ) -> tuple[TaskKind | None, Claim | None]:
        """Fetch the next job of these kinds; return its kind and the claim to its task.

        The kind is None if there is no job, the claim is None if the task cannot be claimed now.
        """
        (job,) = _query("fetch_job", queues=list(kinds), worker_id=None)
        if job["id"] is None:
            return None, None
        kind = TaskKind(job["queue_name"])
        task_id = json.loads(job["args"])["task_id"]  # Django's connections return JSON as text
        task = Task.objects.filter(pk=task_id, status=TaskStatus.READY).first()
        if task is None:
            _finish(job["id"])
            return kind, None
        if task.kind in COURTESIES and is_out_of_place(task, self._clock()):
            self._drop(task, self._clock())
            _finish(job["id"])
            return kind, None
        if is_poison_suspect(task) and (
            not most_deaths or task.delivery_count in too_many(most_deaths)
        ):
            _retry(job["id"], SUSPECT_PAUSE)
            return kind, None
        claimed = self._take(task, self._clock(), job["id"], is_rush=left[kind] == 1)
        if claimed is None:
            _retry(job["id"], UNCLAIMED_PAUSE)
        return kind, claimed

    @transaction.atomic
    def end(self, held: Claim, status: TaskStatus, failure: Failure = NO_FAILURE) -> bool:
        """Close a task and its job for good; False if another worker has the task now."""
        is_ours = super().end(held, status, failure)
        if is_ours:
            _finish(held.job_id)
        return is_ours

    @transaction.atomic
    def put_back(
        self, held: Claim, failure: Failure, pause: timedelta, *, counts: bool = True
    ) -> datetime | None:
        """Queue a task again after a pause; see `TaskStore.put_back`."""
        due_at = super().put_back(held, failure, pause, counts=counts)
        if due_at is not None:
            _retry(held.job_id, pause)
        return due_at

    @transaction.atomic
    def hand_back(self, held: Claim) -> bool:
        """Leave a task to the next worker, as if this one had never claimed it."""
        is_ours = super().hand_back(held)
        if is_ours:
            _retry(held.job_id)
        return is_ours

    def free_expired(self, tokens: Collection[UUID]) -> int:
        """Free the tasks of silent workers, and repair tasks and jobs that do not match.

        Returns the number of tasks that were freed or got a job.
        """
        return super().free_expired(tokens) + _reunite()

    @transaction.atomic
    def _free(self, tasks: QuerySet[Task]) -> int:
        held = tasks.filter(status=TaskStatus.RUNNING).select_for_update(skip_locked=True)
        ids = list(held.values_list("pk", flat=True))
        if not ids:
            return 0
        for job_id in _ids(_IN_HAND, tasks=ids):
            _retry(job_id)
        return free(Task.objects.filter(pk__in=ids))


@transaction.atomic
def _reunite() -> int:
    """Add jobs to tasks without one, and free jobs whose task is not running.

    Returns the number of tasks that got a job.
    """
    for job_id in _ids(_WITHOUT_A_TASK, name=TASK_NAME):
        _retry(job_id)
    lost = Task.objects.filter(pk__in=_ids(_WITHOUT_A_JOB)).order_by("pk")
    # Two workers may do this at once: the second finds the tasks locked and skips them.
    tasks = list(lost.select_for_update(skip_locked=True))
    _defer(tasks)
    return len(tasks)


# --- the library's jobs ---------------------------------------------------------------------------


def _defer(tasks: Collection[Task]) -> None:
    if tasks:
        with _as_djangos():
            _JOBS.batch_defer_jobs([_job(task) for task in tasks])


def _job(task: Task) -> Job:
    # Only messages have a lane and so a lock. Each kind has its own queue and its own limit.
    is_in_line = task.kind == TaskKind.MESSAGE
    return Job(
        id=None,
        queue=task.kind,
        priority=PRIORITIES[TaskKind(task.kind)],
        lock=f"lane:{task.lane}" if is_in_line else None,
        queueing_lock=None,
        task_name=TASK_NAME,
        task_kwargs={"task_id": task.pk},
        scheduled_at=_database_time() + pastes.WAIT if task.is_paste else None,
    )


def _finish(job_id: int | None) -> None:
    if _is_being_done(job_id):
        _query("finish_job", job_id=job_id, status="succeeded", delete_job=True)


def _retry(job_id: int | None, pause: timedelta = timedelta()) -> None:
    if _is_being_done(job_id):
        _query(
            "retry_job",
            job_id=job_id,
            retry_at=_database_time() + pause,  # the database's clock decides when it is due
            new_priority=None,
            new_queue_name=None,
            new_lock=None,
        )


def _is_being_done(job_id: int | None) -> bool:
    """Tell whether a job is in progress, and lock it.

    For any other job the library raises, which would roll back the rest of the transaction.
    """
    doing = "SELECT id FROM procrastinate_jobs WHERE id = %(id)s AND status = 'doing' FOR UPDATE"
    return bool(_ids(doing, id=job_id))


def _ids(query: Any, **arguments: Any) -> list[int]:
    with _as_djangos():
        return [row["id"] for row in _CONNECTOR.execute_query_all(query, **arguments)]


def _query(name: str, **arguments: Any) -> list[dict[str, Any]]:
    with _as_djangos():
        return _CONNECTOR.execute_query_all(sql.queries[name], **arguments)


@contextlib.contextmanager
def _as_djangos() -> Iterator[None]:
    """Turn the library's connection errors into Django's `OperationalError`."""
    try:
        yield
    except ConnectorException as error:
        raise OperationalError(str(error.__cause__ or error)) from error


def _database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    return now  # type: ignore[no-any-return]
