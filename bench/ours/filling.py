"""What fills an installation up before a step is measured: agents, members, records."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from django.utils import timezone

from agents.models import AGENTS, AgentModelConfig
from pipeline.models import LLMCall, Member, PipelineRun, Task
from pipeline.models.inbox import TaskKind, TaskStatus
from pipeline.models.runs import CallStatus, RunStatus, Source, StepRun, StepStatus, TextBlob

AT_ONCE = 5_000


def fill(agents: int = 0, members: int = 0, runs: int = 0) -> None:
    """Add so many overrides, members, and ended runs of three steps with a task each."""
    for number in range(agents):
        AGENTS.add(name := f"agent_{number}")
        AgentModelConfig.objects.upsert(name, "openai/gpt-5-mini", "bench")
    Member.objects.bulk_create(
        (Member(telegram_id=number, name=f"Member {number}") for number in range(1, members + 1)),
        batch_size=AT_ONCE,
    )
    for first in range(0, runs, AT_ONCE):
        _add_runs(min(AT_ONCE, runs - first))


def _add_runs(count: int) -> None:
    now = timezone.now() - timedelta(days=1)
    texts = [
        TextBlob(sha256=f"{uuid4().hex}{uuid4().hex}", text="said " * 50) for _ in range(count)
    ]
    runs = [
        PipelineRun(
            pipeline="support",
            source=Source.SHELL,
            status=RunStatus.OK,
            user_message=text,
            started_at=now,
            ended_at=now,
        )
        for text in texts
    ]
    steps = [
        StepRun(
            run=run,
            position=position,
            agent="strategist",
            mode="sequential",
            status=StepStatus.OK,
            inputs=run.user_message,
            started_at=now,
            ended_at=now,
        )
        for run in runs
        for position in range(3)
    ]
    calls = [
        LLMCall(
            step=step,
            number=1,
            status=CallStatus.OK,
            provider="openrouter",
            requested_model="openai/gpt-5-mini",
            payer="shared",
            user_message=step.inputs,
            started_at=now,
        )
        for step in steps
    ]
    tasks = [
        Task(
            kind=TaskKind.RERUN,
            run=run,
            status=TaskStatus.SUCCESSFUL,
            delivery_count=1,
            ended_at=now,
        )
        for run in runs
    ]
    TextBlob.objects.bulk_create(texts)
    PipelineRun.objects.bulk_create(runs)
    StepRun.objects.bulk_create(steps)
    LLMCall.objects.bulk_create(calls)
    Task.objects.bulk_create(tasks)
