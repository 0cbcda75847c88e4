"""How long the operator's pages of runs take, with a million step runs and two million calls.

Run by `make bench` with a fresh PostgreSQL, whose rows are made by SQL. Each page is asked for
through Django's test client, so the figure is the server's time with all its queries. What a filter
finds is common, rare, or common long ago: the last is where a plan that hopes for luck is slow.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from typing import Any

import django

RUNS = int(os.environ.get("BENCH_RUNS", "333334"))
TIMES = int(os.environ.get("BENCH_TIMES", "20"))
MOST_MS = 300

_TEXTS = """
    INSERT INTO pipeline_prompttext (sha256, text, created_at)
    SELECT encode(sha256(n::text::bytea), 'hex'), repeat('A text of a prompt. ', 100), now()
      FROM generate_series(1, 20000) AS n"""
_MEMBERS = """
    INSERT INTO pipeline_member (telegram_id, name, username, access, provider, model_id,
           key_ciphertext, key_fingerprint, memory_version, forgotten_runs, forgotten_usd, created_at)
    SELECT n, 'Member ' || n, 'member_' || n, 'approved', '', '', '', '', 0, 0, 0, now()
      FROM generate_series(1, 300) AS n"""
_RUNS = """
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
           now() - n * interval '90 seconds', now() - n * interval '90 seconds' + interval '3 s'
      FROM generate_series(1, %(runs)s) AS n"""
_STEPS = """
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
           now() - n * interval '90 seconds' + p * interval '1 s',
           now() - n * interval '90 seconds' + (p + 1) * interval '1 s'
      FROM generate_series(1, %(runs)s) AS n, generate_series(0, 2) AS p"""
_CALLS = """
    INSERT INTO pipeline_llmcall (id, step_id, number, status, provider, requested_model,
           served_model, is_mismatch, is_fallback, purse, key_fingerprint, has_image, cost_usd,
           cost_source, finish_reason, generation_id, error, latency_ms, started_at,
           system_prompt_id, user_message_id, output_id)
    SELECT md5('call' || n || '-' || p || '-' || c)::uuid, md5('step' || n || '-' || p)::uuid, c,
           CASE WHEN c = 1 THEN 'error' ELSE 'ok' END, 'openrouter', 'openai/gpt-5-mini',
           'openai/gpt-5-mini', false, false, 'shared', 'abcd1234', false, 0.0001, 'reported',
           'stop', '', '', 400,
           now() - n * interval '90 seconds' + p * interval '1 s' + c * interval '400 ms',
           encode(sha256((n %% 20000 + 1)::text::bytea), 'hex'),
           encode(sha256((n %% 20000 + 1)::text::bytea), 'hex'),
           encode(sha256((n %% 20000 + 1)::text::bytea), 'hex')
      FROM generate_series(1, %(runs)s) AS n, generate_series(0, 2) AS p, generate_series(1, 2) AS c"""

PAGES = {
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
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    from django.conf import settings  # noqa: PLC0415 - after set-up
    from django.core.management import call_command  # noqa: PLC0415

    settings.SECURE_SSL_REDIRECT = False
    settings.ALLOWED_HOSTS = ["*"]
    call_command("migrate", verbosity=0)
    _fill()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()};")
    print(f"{RUNS:,} runs, {3 * RUNS:,} step runs, {6 * RUNS:,} calls; {TIMES} times each")
    slow = [name for name, took in _measured().items() if took > MOST_MS]
    print(f"slower than {MOST_MS} ms: {', '.join(slow) or 'none'}")


def _fill() -> None:
    from django.db import connection  # noqa: PLC0415 - after set-up

    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        for sql in (_TEXTS, _MEMBERS, _RUNS, _STEPS, _CALLS):
            cursor.execute(sql, {"runs": RUNS})
        cursor.execute("VACUUM ANALYZE")
    connection.close()


def _measured() -> dict[str, float]:
    """Return the 95th percentile of each page, in milliseconds."""
    from django.contrib.auth.models import User  # noqa: PLC0415 - after set-up
    from django.test import Client  # noqa: PLC0415
    from django.urls import reverse  # noqa: PLC0415

    from pipeline.models import PipelineRun  # noqa: PLC0415

    client = Client()
    client.force_login(User.objects.create_superuser("bench"))
    listing = reverse("admin:pipeline_pipelinerun_changelist")
    run = PipelineRun.objects.order_by("-started_at")[1000]
    urls = {name: f"{listing}?{query}" for name, query in PAGES.items()}
    urls["page of a run"] = reverse("admin:pipeline_pipelinerun_change", args=[run.pk])
    urls["run again?"] = reverse("admin:pipeline_pipelinerun_again", args=[run.pk])
    urls["search an id"] = f"{listing}?q={str(run.pk)[:8]}"
    urls["readings"] = reverse("admin:pipeline_textsread_changelist")
    return {name: _p95(client, name, url) for name, url in urls.items()}


def _p95(client: Any, name: str, url: str) -> float:
    from django.db import connection  # noqa: PLC0415 - after set-up
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    with CaptureQueriesContext(connection) as seen:  # and nothing is read for the first time
        page = client.get(url)
    assert page.status_code == 200, (name, page.status_code)
    queries = seen.captured_queries  # of the next request they would be
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        client.get(url)
        took.append((time.perf_counter() - began) * 1000)
    p95 = statistics.quantiles(took, n=20)[-1]
    slowest = max(queries, key=lambda query: float(query["time"]))
    print(
        f"{name:28} p50 {statistics.median(took):6.0f} ms, p95 {p95:6.0f} ms, {len(queries)} queries,"
        f" the slowest {1000 * float(slowest['time']):.0f} ms",
        flush=True,
    )
    if os.environ.get("BENCH_SQL") and p95 > MOST_MS / 2:
        print(f"    {slowest['sql'][:3000]}", flush=True)
    return p95


if __name__ == "__main__":
    main()
