"""How long the operator's pages take with a month of records: a million steps, two million calls.

Run by `make prove` with a fresh PostgreSQL and Redis. Times are the server's own, without the
network; each page is asked for several times after a first one that warms up.
"""

from __future__ import annotations

import statistics
import time

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from bench.fill import STEPS, fill
from pipeline.models import Member, PipelineRun
from tests.agents.processes import environment, migrate

TIMES = 20
MOST_MS = 300.0


def main() -> int:
    """Fill, measure, print; 1 if a page is too slow."""

    migrate(environment())
    started = time.perf_counter()
    fill(STEPS, now=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
    print(
        f"{STEPS:,} steps in {connection.vendor}, written in {time.perf_counter() - started:.0f} s"
    )
    worst_ms = max(_measure(title, url) for title, url in _pages())
    print(f"slowest p95: {worst_ms:.0f} ms, aim {MOST_MS:.0f} ms")
    return int(worst_ms > MOST_MS)


def _pages() -> list[tuple[str, str]]:

    runs = reverse("admin:pipeline_pipelinerun_changelist")
    run = PipelineRun.objects.order_by("-started_at")[1000]
    member = Member.objects.order_by("pk")[10]
    filters = {
        "newest": "",
        "page 20": "?p=20",
        "of an agent": "?agent=strategist",
        "on a model": "?model=openai/gpt-4.1",
        "on a model that none ran on": "?model=nobody/nothing",
        "of a member": "?member=Member+17",
        "failed": "?status__exact=failed",
        "by members' keys": "?purse=member",
        "mismatches": "?look=mismatch",
        "found by name": "?q=Member+17",
        "found by id": f"?q={str(run.pk)[:8]}",
    }
    return [
        ("first page", reverse("admin:index")),
        ("first page, 7 days by model", reverse("admin:index") + "?range=7d&by=model"),
        ("first page, 30 days by model", reverse("admin:index") + "?range=30d&by=model"),
        ("its live part", reverse("now")),
        ("cost of a change", reverse("cost") + "?agent_name=strategist&model_id=openai/gpt-4.1"),
        *((f"runs, {title}", runs + query) for title, query in filters.items()),
        ("one run", reverse("admin:pipeline_pipelinerun_change", args=[run.pk])),
        ("overrides", reverse("admin:agents_agentmodelconfig_changelist")),
        ("members", reverse("admin:pipeline_member_changelist")),
        ("one member", reverse("admin:pipeline_member_change", args=[member.pk])),
        ("tasks", reverse("admin:pipeline_task_changelist")),
    ]


def _measure(title: str, url: str) -> float:

    operator, _ = User.objects.get_or_create(username="bench", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(operator)
    client.get(url)
    took_ms = []
    for _ in range(TIMES):
        started = time.perf_counter()
        response = client.get(url)
        took_ms.append((time.perf_counter() - started) * 1000)
        if response.status_code >= 400:
            raise SystemExit(f"{url} answered {response.status_code}")
    with CaptureQueriesContext(connection) as queries:
        client.get(url)
    p95_ms = statistics.quantiles(took_ms, n=20)[-1]
    middle_ms = statistics.median(took_ms)
    print(f"{title:32} p50 {middle_ms:6.0f} ms  p95 {p95_ms:6.0f} ms  {len(queries):3} queries")
    return p95_ms
