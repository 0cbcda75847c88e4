"""The health endpoints `/healthz` and `/readyz`, for supervisors, load balancers and curl.

They are served by the first middleware, which reads only method and path, so that no host check,
TLS redirect or session gets in the way of a local probe. The answers contain states and numbers,
but no error texts and no host names.

`/healthz`: this process answers. `/readyz`: 503 if the database is down or the queue is stalled;
200 and "degraded" for any other problem, because members still get answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connections
from django.db.models import Case, Count, F, Min, Q, When
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.utils import timezone

from agents import revision
from agents.process_report import living
from agents.snapshot import close_connection, use_own_connection
from pipeline.models import Poller, Task
from pipeline.models.inbox import OPEN, TaskStatus

METHODS = ["GET", "HEAD"]
STALLED_AFTER = timedelta(seconds=120)  # four leases: enough for a restart and a takeover
SILENT_AFTER = timedelta(seconds=60)  # six times the limit of one fetch from Telegram
OK, DEGRADED, NOT_READY = "ok", "degraded", "not ready"
UNHEALTHY = {"database": {"down"}, "queue": {"stalled"}}  # anything else only degrades

Part = dict[str, Any]

# Since when an open task has been waiting for a worker. A task whose worker died waits since its
# lease ended.
WAITING_SINCE = Case(
    When(status=TaskStatus.RUNNING, then=F("lease_until")),
    default=Coalesce("due_at", "created_at"),
)


class HealthMiddleware:
    """Answers the probes and passes on every other request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response
        self._probes = {"/healthz": _alive, "/readyz": _ready}

    def __call__(self, request: HttpRequest) -> HttpResponse:
        probe = self._probes.get(request.path_info)
        if probe is None:
            return self._get_response(request)
        is_allowed = request.method in METHODS
        response = probe() if is_allowed else HttpResponseNotAllowed(METHODS)
        response["Cache-Control"] = "no-store"
        return response


def _alive() -> HttpResponse:
    return JsonResponse({"status": OK})


def _ready() -> HttpResponse:
    parts = readiness(timezone.now())
    states = {name: part["state"] for name, part in parts.items()}
    status = OK if set(states.values()) == {OK} else DEGRADED
    if any(states[name] in words for name, words in UNHEALTHY.items()):
        status = NOT_READY
    return JsonResponse({"status": status, **parts}, status=503 if status == NOT_READY else 200)


def readiness(now: datetime) -> dict[str, Part]:
    """Return the state of each part (a word) and the numbers behind it, by the part's name.

    Takes at most a few seconds: the cache has its own timeouts, the database connection used here
    has short ones, and no query follows one that failed.
    """
    parts = {"database": {"state": OK}, "cache": _cache()}
    asked = {"queue": _queue, "bot": _bot, "overrides": _overrides}
    try:
        with _short_patience():
            return parts | {name: ask(now) for name, ask in asked.items()}
    except DatabaseError:
        unknown: dict[str, Part] = {name: {"state": "unknown"} for name in asked}
        return parts | {"database": {"state": "down"}} | unknown


def _cache() -> Part:
    try:
        revision.check_cache()
    except revision.CacheUnreachable:
        return {"state": "down"}  # meanwhile the resolver reads the database
    return {"state": OK}


def _queue(now: datetime) -> Part:
    """Return the queue's state: "stalled" if a task is due for over 120 s and no lease is valid.

    A long wait alone proves nothing, because messages of one chat wait for each other. A working
    worker holds a lease that ends in the future. The lease's end stays on a task that is finished
    or returned to the queue, so a probe between two tasks sees it too.
    """
    tasks = Task.objects.annotate(since=WAITING_SINCE).filter(status__in=OPEN)
    seen = tasks.aggregate(open=Count("pk"), oldest=Min("since", filter=Q(since__lte=now)))
    dead = Task.objects.filter(status=TaskStatus.DEAD_LETTER).count()
    waited = now - seen["oldest"] if seen["oldest"] else timedelta()
    is_stalled = waited > STALLED_AFTER and not Task.objects.filter(lease_until__gt=now).exists()
    return {
        "state": "stalled" if is_stalled else OK,
        "open": seen["open"],
        "oldest_due_s": _seconds(waited),
        "dead": dead,
    }


def _bot(now: datetime) -> Part:
    if settings.TELEGRAM_WEBHOOK_URL:
        return {"state": OK, "delivery": "webhook"}  # no poller runs
    # Bots of former tokens have rows too; the one heard from last is in use.
    poller = Poller.objects.order_by("-heard_at").first()
    if poller is None:
        return {"state": "never"}
    silence = now - poller.heard_at
    trouble = re.match(r"\w{0,40}", poller.trouble)
    return {
        "state": "silent" if silence > SILENT_AFTER else OK,
        "heard_s": _seconds(silence),
        "trouble": trouble[0] if trouble else "",
    }


def _overrides(now: datetime) -> Part:
    processes = living()
    if not processes:
        return {"state": "no process"}
    ages = [now - process.read_at for process in processes if process.read_at]
    return {
        "state": "stale" if any(process.is_stale for process in processes) else OK,
        "age_s": _seconds(max(ages)) if ages else None,
        "processes": len(processes),
    }


def _seconds(duration: timedelta) -> float:
    return round(max(0.0, duration.total_seconds()), 1)


@contextmanager
def _short_patience() -> Iterator[None]:
    """Run the queries inside on a connection that gives up within 3 s, not the site's usual 15."""
    usual = connections["default"]
    use_own_connection()
    try:
        yield
    finally:
        close_connection()
        connections["default"] = usual
