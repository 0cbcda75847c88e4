"""A row for each page of the admin, with a secret in all that is a text."""

from __future__ import annotations

from typing import Any

from axes.models import AccessAttempt
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.utils import timezone

from agents.models import AgentModelConfig, ServedName
from pipeline.models import (
    Budget,
    CasebookEntry,
    Fact,
    Invite,
    Lesson,
    LLMCall,
    Member,
    OperatorLink,
    OutgoingMessage,
    PipelineRun,
    PlaybookPage,
    Scenario,
    StepRun,
    Task,
    TelegramUpdate,
    TextBlob,
    TextsRead,
    Track,
)
from pipeline.models.budgets import Interval, Scope
from pipeline.models.inbox import TaskKind, TaskStatus

SECRET = "Quillfeather"


def rows_with_texts() -> dict[str, Any]:
    """Write one row for each page, with a secret in all that is a text."""
    now = timezone.now()
    text = TextBlob.objects.create(sha256="0" * 64, text=SECRET)
    dana = Member.objects.create(telegram_id=42, name="Dana", access="approved")
    Fact.objects.create(member=dana, kind="goal", text=SECRET, since_version=1)
    update = TelegramUpdate.objects.create(
        bot_id=7, update_id=1, kind="message", chat_id=42, user_id=42, raw=f'{{"text": "{SECRET}"}}'
    )
    OutgoingMessage.objects.create(update=update, number=0, text=SECRET)
    task = Task.objects.create(
        kind=TaskKind.MESSAGE,
        update=update,
        status=TaskStatus.DEAD_LETTER,
        error=f"ValueError: {SECRET}",
        ended_at=now,
    )
    run = PipelineRun.objects.create(
        pipeline="support",
        source="telegram",
        member=dana,
        update=update,
        user_message=text,
        answer=text,
        background=text,
        started_at=now,
    )
    step = StepRun.objects.create(
        run=run,
        position=0,
        agent="strategist",
        mode="sequential",
        status="failed",
        error=f"RequestForbidden: refused: {SECRET}",
        member_line=SECRET,
        inputs=text,
        output=text,
        reply=text,
        started_at=now,
    )
    LLMCall.objects.create(
        step=step,
        number=1,
        provider="openrouter",
        requested_model="openai/gpt-5-mini",
        payer="shared",
        system_prompt=text,
        user_message=text,
        output=text,
        error=f"RequestForbidden: refused: {SECRET}",
        started_at=now,
    )
    track = Track.objects.create(title="Discovery")
    Lesson.objects.create(track=track, level=1, title="One", text="text", task="task")
    return {
        "agents_agentmodelconfig": AgentModelConfig.objects.upsert("extraction", "a/b", "olga"),
        "agents_servedname": ServedName.objects.create(
            provider="compatible", requested_model="llama3.2:1b", served_model="/models/a.gguf"
        ),
        "pipeline_member": dana,
        "pipeline_budget": Budget.objects.create(
            scope=Scope.AGENT, name="strategist", interval=Interval.WEEK, cap_usd=1
        ),
        "pipeline_invite": Invite.objects.create(secret_sha256="0" * 64, expires_at=now),
        "pipeline_task": task,
        "pipeline_pipelinerun": run,
        "pipeline_casebookentry": CasebookEntry.objects.create(
            title=SECRET, text=SECRET, member=dana
        ),
        "pipeline_playbookpage": PlaybookPage.objects.create(title="Page", text="text"),
        "pipeline_track": track,
        "pipeline_scenario": Scenario.objects.create(title="Scenario", text="text"),
        "pipeline_textsread": TextsRead.objects.create(operator_name="rea", run=run, how="page"),
        "pipeline_operatorlink": OperatorLink.objects.create(
            user=User.objects.create_user("lena", password="x", is_staff=True), telegram_id=77
        ),
        **_accounts(),
        **_jobs(),
    }


def _accounts() -> dict[str, Any]:
    group = Group.objects.create(name="Night shift")
    group.permissions.set(Permission.objects.filter(codename="view_member"))
    attempt = AccessAttempt.objects.create(
        username="guesser", ip_address="192.0.2.7", failures_since_start=2
    )
    return {
        "auth_user": User.objects.create_user("nora", password="x", is_staff=True),
        "auth_group": group,
        "axes_accessattempt": attempt,
    }


def _jobs() -> dict[str, Any]:
    """Return a job of the queue, where its package is installed."""
    if not apps.is_installed("procrastinate.contrib.django"):
        return {}
    jobs = apps.get_model("procrastinate", "ProcrastinateJob")
    # As the queue itself writes it: its models are for reading only.
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args) "
            "VALUES ('updates', 'deliver', '{}') RETURNING id"
        )
        [(pk,)] = cursor.fetchall()
    return {"procrastinate_procrastinatejob": jobs._default_manager.get(pk=pk)}
