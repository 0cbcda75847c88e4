"""The figures of the overview's health strip: queue, workers, latency and the team key's credit.

Callers pass the database's time as `now`, because the clocks of the machines that run the bot may
differ. A machine whose clock is ahead makes no age negative.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db.models import Count, Exists, Min, OuterRef, Q

from agents.models import ResolverProcess
from observatory.health import WAITING_SINCE
from pipeline.models import PipelineRun, Task
from pipeline.models.inbox import OPEN, TaskKind, TaskStatus
from pipeline.models.runs import RunStatus
from pipeline.models.sources import sources_where
from pipeline.operations import attention
from pipeline.queue.task_store import MAX_PAUSE

# Notices belong to neither: the message that a notice is about is counted itself.
MEMBERS_KINDS = (TaskKind.MESSAGE, TaskKind.CONTROL, TaskKind.GREETING)
BACKGROUND_KINDS = (TaskKind.STEP, TaskKind.RERUN)
LONG_WAIT = timedelta(seconds=60)
LATELY = timedelta(minutes=15)
MAX_RUNS = 10_000
MIN_RUNS = 5  # fewer say too little


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueNow:
    """Tasks that members wait for, and the number of open background tasks."""

    waiting: int  # due, and claimed by no worker that lives
    in_progress: int
    background: int
    # None: nothing is waiting. A message that waits for its chat's earlier one does not count.
    oldest_wait: timedelta | None

    @property
    def is_long(self) -> bool:
        return self.oldest_wait is not None and self.oldest_wait > LONG_WAIT


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyNow:
    """The 95th percentile of the durations of members' whole runs, and their number."""

    runs: int
    p95_ms: int | None  # None: too few runs


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditNow:
    """The team key's credit as OpenRouter last reported it."""

    remaining_usd: Decimal | None  # None: no limit, or unknown
    problem: str
    asked_at: datetime | None
    is_low: bool  # there is an alert about it

    @property
    def is_unlimited(self) -> bool:
        return self.remaining_usd is None and not self.problem and self.asked_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthStrip:
    """All figures of the strip."""

    queue: QueueNow
    workers: list[tuple[str, int]]  # how many processes of each role
    latency: LatencyNow
    credit: CreditNow | None  # None: see `credit_now`


def health_strip(
    now: datetime, processes: Iterable[ResolverProcess], alerts: Iterable[attention.Alert]
) -> HealthStrip:
    """Return the strip's figures for the processes that live and the current alerts."""
    return HealthStrip(
        queue=queue_now(now),
        workers=workers_now(processes),
        latency=latency_now(now),
        credit=credit_now(now, alerts),
    )


def queue_now(now: datetime) -> QueueNow:
    """Return the queue's figures by one query, which reads open tasks only."""
    # A task due later than any pause allows counts as due: a clock was set back since.
    is_due = Q(due_at=None) | Q(due_at__lte=now) | Q(due_at__gt=now + MAX_PAUSE)
    is_abandoned = Q(status=TaskStatus.RUNNING, lease_until__lt=now)
    is_members = Q(kind__in=MEMBERS_KINDS)
    waits = is_members & (Q(status=TaskStatus.READY) & is_due | is_abandoned)
    runs = is_members & Q(status=TaskStatus.RUNNING, lease_until__gte=now)
    tasks = Task.objects.filter(status__in=OPEN, kind__in=(*MEMBERS_KINDS, *BACKGROUND_KINDS))
    earlier = Task.objects.filter(
        lane=OuterRef("lane"),
        kind=TaskKind.MESSAGE,
        status=TaskStatus.RUNNING,
        lease_until__gte=now,
    )
    is_next = Q(lane="") | ~Exists(earlier)
    seen = tasks.annotate(since=WAITING_SINCE).aggregate(
        waiting=Count("pk", filter=waits),
        in_progress=Count("pk", filter=runs),
        background=Count("pk", filter=~is_members),
        oldest=Min("since", filter=waits & is_next),
    )
    oldest = seen.pop("oldest")
    return QueueNow(**seen, oldest_wait=None if oldest is None else max(timedelta(), now - oldest))


def workers_now(processes: Iterable[ResolverProcess]) -> list[tuple[str, int]]:
    """Return how many of the processes that answer messages have each role, by role."""
    return sorted(Counter(process.role for process in attention.workers(processes)).items())


def latency_now(now: datetime) -> LatencyNow:
    """Return the 95th percentile of members' runs that ended in the last 15 minutes.

    Only runs that may have ended then are read, the latest 10,000 at most.
    """
    longest = timedelta(seconds=settings.RUN_DEADLINE_SECONDS)
    runs = PipelineRun.objects.filter(started_at__gt=now - LATELY - longest)
    latest = runs.order_by("-started_at", "-id")
    rows = latest.values_list("source", "status", "started_at", "ended_at")[:MAX_RUNS]
    traffic = sources_where("is_traffic")
    times = sorted(
        max(timedelta(), ended_at - started_at)
        for source, status, started_at, ended_at in rows
        if source in traffic
        and status != RunStatus.INTERRUPTED  # its end is the time at which a restart found it
        # A clock may be ahead, so ends slightly in the future count; later ones do not.
        and ended_at is not None
        and abs(now - ended_at) < LATELY
    )
    p95 = times[math.ceil(0.95 * len(times)) - 1] if len(times) >= MIN_RUNS else None
    p95_ms = None if p95 is None else round(p95 / timedelta(milliseconds=1))
    return LatencyNow(runs=len(times), p95_ms=p95_ms)


def credit_now(now: datetime, alerts: Iterable[attention.Alert]) -> CreditNow | None:
    """Return the known credit of the team key; None without a key, and on a server of one's own."""
    heard = attention.credit()
    if heard is None:
        return None
    remaining, asked_at = heard.get("remaining_usd"), heard.get("asked_at")
    return CreditNow(
        remaining_usd=None if remaining is None else Decimal(remaining),
        problem=heard.get("problem") or "",
        asked_at=min(now, datetime.fromisoformat(asked_at)) if asked_at else None,
        is_low=any(alert.key == attention.CREDIT_LOW for alert in alerts),
    )
