"""Runs as records have them, for tests of the pages that show them."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import Any

from django.utils import timezone

from pipeline.models import LLMCall, PipelineRun, StepRun, TextBlob

MODEL = "openai/gpt-5-mini"


def text(words: str) -> TextBlob:
    key = sha256(words.encode()).hexdigest()
    return TextBlob.objects.get_or_create(sha256=key, defaults={"text": words})[0]


def a_run(*steps: dict[str, Any], hours_ago: float = 0, **fields: Any) -> PipelineRun:
    """Return a run that has ended, with these steps of one call each; without any, with one."""
    began_at = timezone.now() - timedelta(hours=hours_ago)
    usual = {
        "pipeline": "support",
        "source": "telegram",
        "status": "ok",
        "started_at": began_at,
        "ended_at": began_at + timedelta(seconds=3),
    }
    run = PipelineRun.objects.create(**(usual | fields))
    for position, step in enumerate(steps or ({},)):
        a_step(run, position, **step)
    return run


def a_step(run: PipelineRun, position: int = 0, *, calls: int = 1, **fields: Any) -> StepRun:
    began_at = run.started_at + timedelta(seconds=position)
    usual = {
        "agent": ("extraction", "strategist", "memory")[position],
        "mode": "background" if position == 2 else "sequential",
        "status": "ok",
        "decision": f"ran {MODEL} because no override is set",
        "requested_model": MODEL,
        "payer": "shared",
        "snapshot_version": "v1·a1b3",
        "snapshot_age_ms": 12,
        "started_at": began_at,
        "ended_at": began_at + timedelta(seconds=1),
    }
    step = StepRun.objects.create(run=run, position=position, **(usual | fields))
    for number in range(1, calls + 1):
        a_call(step, number)
    return step


def a_call(step: StepRun, number: int = 1, **fields: Any) -> LLMCall:
    usual = {
        "status": "ok",
        "provider": "openrouter",
        "requested_model": step.requested_model,
        "served_model": step.requested_model,
        "payer": step.payer,
        "key_fingerprint": "abcd1234",
        "latency_ms": 900,
        "cost_usd": "0.0005",
        "input_tokens": 100,
        "output_tokens": 20,
        "started_at": step.started_at + timedelta(microseconds=number),
    }
    return LLMCall.objects.create(step=step, number=number, **(usual | fields))
