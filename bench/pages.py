"""How long the operator's pages take with a month of records: 1 million steps, 2 million calls.

Run by `make prove` with a fresh PostgreSQL, whose rows are made by SQL. Each page is asked for
through Django's test client, so the figure is the server's time with all its queries. What a filter
finds is common, rare, or common long ago: the last is where a plan that hopes for luck is slow.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agents.models import CatalogModel
from pipeline.models import Member, PipelineRun
from pipeline.operations import usage

RUNS = int(os.environ.get("BENCH_RUNS", "333334"))
TIMES = int(os.environ.get("BENCH_TIMES", "20"))
MAX_MS = 300
CHOSEN = "openai/gpt-4.1"

_TEXTS_SQL = """
    INSERT INTO pipeline_prompttext (sha256, text, created_at)
    SELECT encode(sha256(n::text::bytea), 'hex'), repeat('A text of a prompt. ', 100), now()
      FROM generate_series(1, 20000) AS n"""
_MEMBERS_SQL = """
    INSERT INTO pipeline_member (telegram_id, name, username, access, provider, model_id,
           key_ciphertext, key_fingerprint, memory_version, forgotten_runs, forgotten_usd, created_at)
    SELECT n, 'Member ' || n, 'member_' || n, 'approved', '', '', '', '', 0, 0, 0, now()
      FROM generate_series(1, 300) AS n"""  # noqa: E501
_RUNS_SQL = """
    INSERT INTO pipeline_pipelinerun (id, pipeline, member_id, source, status, user_message_id,
           answer_id, cost_usd, has_mismatch, has_fallback, started_at, ended_at)
    SELECT md5('run' || n)::uuid,
           CASE WHEN n %% 10 < 6 THEN 'support' WHEN n %% 10 < 8 THEN 'learn' ELSE 'train' END,
           (SELECT min(id) FROM pipeline_member) + n %% 300,
           CASE WHEN n %% 1000 = 0 THEN 'again' WHEN n %% 50 = 0 THEN 'shell' ELSE 'telegram' END,
           CASE WHEN n %% 50 = 7 THEN 'failed' ELSE 'ok' END,
           encode(sha256((n %% 20000 + 1)::text::bytea), 'hex'),
           encode(sha256((n %% 20000 + 1)::text::bytea), 'hex'),
           CASE WHEN n %% 30 = 3 THEN NULL ELSE (n %% 1000) * 0.0001 END,
           n %% 2000 = 9, n %% 3000 = 9,
           now() - n * interval '7.7 seconds', now() - n * interval '7.7 seconds' + interval '3 s'
      FROM generate_series(1, %(runs)s) AS n"""
_STEPS_SQL = """
    INSERT INTO pipeline_steprun (id, run_id, position, attempt, agent, mode, status, decision,
           provider, requested_model, purse, snapshot_version, is_stale, was_repaired, error,
           member_line, inputs_id, output_id, started_at, ended_at)
    SELECT md5('step' || n || '-' || p)::uuid, md5('run' || n)::uuid, p, 1,
           (ARRAY['extraction', 'strategist', 'memory'])[p + 1],
           CASE WHEN p = 2 THEN 'background' ELSE 'sequential' END, 'ok', 'ran because', 'openrouter',
           CASE WHEN n > %(runs)s * 0.85 AND p = 1 THEN 'google/of-long-ago'
                WHEN n %% 20000 = 5 THEN 'meta/rare'
                WHEN n %% 10 < 6 THEN 'openai/gpt-5-mini' ELSE 'anthropic/claude-sonnet-4.5' END,
           CASE WHEN p = 1 THEN 'shared' ELSE 'member' END, 'v1', false, false, '', '',
           encode(sha256((n %% 20000 + 1)::text::bytea), 'hex'),
           encode(sha256((n %% 20000 + 1)::text::bytea), 'hex'),
           now() - n * interval '7.7 seconds' + p * interval '500 ms',
           now() - n * interval '7.7 seconds' + (p + 1) * interval '500 ms'
      FROM generate_series(1, %(runs)s) AS n, generate_series(0, 2) AS p"""  # noqa: E501
_CALLS_SQL = """
    INSERT INTO pipeline_llmcall (id, step_id, number, status, provider, requested_model,
           served_model, is_mismatch, is_fallback, purse, key_fingerprint, has_image, cost_usd,
           cost_source, finish_reason, generation_id, error, latency_ms, started_at,
           system_prompt_id, user_message_id, output_id)
    SELECT md5('call' || n || '-' || p || '-' || c)::uuid, md5('step' || n || '-' || p)::uuid, c,
           CASE WHEN c = 1 THEN 'error' ELSE 'ok' END, 'openrouter', 'openai/gpt-5-mini',
           'openai/gpt-5-mini', false, false, 'shared', 'abcd1234', false, 0.000123456789, 'reported',
           'stop', '', '', 400,
           now() - n * interval '7.7 seconds' + p * interval '500 ms' + c * interval '150 ms',
           encode(sha256((n %% 20000 + 1)::text::bytea), 'hex'),
           encode(sha256((n %% 20000 + 1)::text::bytea), 'hex'),
           encode(sha256((n %% 20000 + 1)::text::bytea), 'hex')
      FROM generate_series(1, %(runs)s) AS n, generate_series(0, 2) AS p, generate_series(1, 2) AS c"""  # noqa: E501

RUN_LISTS = {
    "list": "",
    "page 40": "p=40",
    "by cost": "o=-6",
    "status failed": "status__exact=failed",
    "pipeline train": "pipeline=train",
    "agent": "agent=strategist",
    "model, common": "model=openai/gpt-5-mini",
    "model, rare": "model=meta/rare",
    "model, of long ago": "model=google/of-long-ago",
    "model, never": "model=nobody/knows-it",
    "agent and model, none": "agent=memory&model=google/of-long-ago",
    "purse": "purse=shared",
    "purse and failed": "purse=shared&status__exact=failed",
    "model of long ago, lately": "model=google/of-long-ago&since=week",
    "model and member": "model=openai/gpt-5-mini&member=Member 77",
    "mismatch": "look=mismatch",
    "mismatch and model": "look=mismatch&model=google/of-long-ago",
    "member": "member=Member 77",
    "search a member": "q=member_123",
    "search nobody": "q=nobody",
    "last 7 days": "since=week",
    "cost from 0.09": "cost_usd_from=0.09",
    "cost from 5": "cost_usd_from=5",
    "run again": "source__exact=again",
}


def main() -> None:
    """Measure and print."""
    settings.SECURE_SSL_REDIRECT = False
    settings.ALLOWED_HOSTS = ["*"]
    call_command("migrate", verbosity=0)
    _fill()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()};")
    print(f"{RUNS:,} runs, {3 * RUNS:,} step runs, {6 * RUNS:,} calls; {TIMES} times each")
    client = Client()
    client.force_login(User.objects.create_superuser("bench"))
    slow = [name for name, url in _urls() if _p95_ms(client, name, url) > MAX_MS]
    print(f"slower than {MAX_MS} ms: {', '.join(slow) or 'none'}")


def _fill() -> None:
    if connection.vendor != "postgresql":
        sys.exit("bench pages needs PostgreSQL: python -m tests.servers python -m bench pages")
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        for sql in (_TEXTS_SQL, _MEMBERS_SQL, _RUNS_SQL, _STEPS_SQL, _CALLS_SQL):
            cursor.execute(sql, {"runs": RUNS})
        cursor.execute("VACUUM ANALYZE")
    now = timezone.now()
    prices = {"prompt_usd": "0.000002", "completion_usd": "0.000008"}
    CatalogModel.objects.create(
        model_id=CHOSEN, name=CHOSEN, first_seen_at=now, last_seen_at=now, **prices
    )
    while usage.close_hours(now):
        pass
    connection.close()


def _urls() -> Iterator[tuple[str, str]]:
    """Yield each page's name and address."""
    first, listing = reverse("admin:index"), reverse("admin:pipeline_pipelinerun_changelist")
    run = PipelineRun.objects.order_by("-started_at")[min(1000, RUNS - 1)]
    for query in ("", "range=7d&by=model", "range=30d&by=agent", "range=30d&by=model"):
        yield f"first page {query}", f"{first}?{query}"
    yield "its live part", reverse("now")
    yield "cost of a change", f"{reverse('cost')}?agent_name=strategist&model_id={CHOSEN}"
    for name, query in RUN_LISTS.items():
        yield f"runs: {name}", f"{listing}?{query}"
    yield "runs: search an id", f"{listing}?q={str(run.pk)[:8]}"
    for name in ("change", "again"):
        yield f"a run: {name}", reverse(f"admin:pipeline_pipelinerun_{name}", args=[run.pk])
    for model in ("member", "task", "textsread", "casebookentry", "playbookpage", "scenario"):
        yield model, reverse(f"admin:pipeline_{model}_changelist")
    yield "a member", reverse("admin:pipeline_member_change", args=[Member.objects.all()[0].pk])
    yield "overrides", reverse("admin:agents_agentmodelconfig_changelist")


def _p95_ms(client: Client, name: str, url: str) -> float:
    with CaptureQueriesContext(connection) as seen:  # and nothing is read for the first time
        page = client.get(url)
    assert page.status_code == 200, (name, page.status_code)
    queries = seen.captured_queries  # of the next request they would be
    took_ms = []
    for _ in range(TIMES):
        began = time.perf_counter()
        client.get(url)
        took_ms.append((time.perf_counter() - began) * 1000)
    p95_ms = statistics.quantiles(took_ms, n=20)[-1]
    slowest = max(queries, key=lambda query: float(query["time"]))
    print(
        f"{name:34} p50 {statistics.median(took_ms):6.0f} ms, p95 {p95_ms:6.0f} ms, "
        f"{len(queries)} queries, the slowest {1000 * float(slowest['time']):.0f} ms",
        flush=True,
    )
    if os.environ.get("BENCH_SQL") and p95_ms > MAX_MS / 2:
        print(f"    {slowest['sql'][:3000]}", flush=True)
    return p95_ms
