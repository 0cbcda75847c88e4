"""Admin labels for stored values: statuses, sources, kinds and payers.

The labels of the models' own choices are part of their migrations, so pages do not use them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django import template
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from agents.llm.base import Payer
from pipeline.models import LLMCall, OutgoingMessage, PipelineRun, StepRun, Task
from pipeline.models.access_log import AccessKind
from pipeline.models.inbox import SendStatus, TaskKind, TaskStatus
from pipeline.models.runs import CallStatus, RunStatus, Source, StepStatus

register = template.Library()


RUN_STATUS = {
    RunStatus.WAITING.value: "Queued",
    RunStatus.RUNNING.value: "Running",
    RunStatus.OK.value: "Answered",
    RunStatus.FAILED.value: "Failed",
    RunStatus.CANCELLED.value: "Canceled",
    RunStatus.INTERRUPTED.value: "Interrupted by a restart",
    RunStatus.GIVEN_UP.value: "Failed after all attempts",
}
STEP_STATUS = {
    StepStatus.WAITING.value: "Queued",
    StepStatus.RUNNING.value: "Running",
    StepStatus.OK.value: "Done",
    StepStatus.FAILED.value: "Failed",
    StepStatus.SKIPPED.value: "Skipped: missing input",
    StepStatus.CANCELLED.value: "Canceled",
    StepStatus.INTERRUPTED.value: "Interrupted by a restart",
}
CALL_STATUS = {
    CallStatus.RUNNING.value: "Running",
    CallStatus.OK.value: "Answered",
    CallStatus.ERROR.value: "Failed",
    CallStatus.UNKNOWN.value: "Outcome unknown, may have been charged",
    CallStatus.INTERRUPTED.value: "Interrupted by a restart, may have been charged",
}
TASK_STATUS = {
    TaskStatus.READY.value: "Queued",
    TaskStatus.RUNNING.value: "Running",
    TaskStatus.SUCCESSFUL.value: "Done",
    TaskStatus.IGNORED.value: "Nothing to do",
    TaskStatus.MERGED.value: "Merged into the previous message",
    TaskStatus.DEAD_LETTER.value: "Failed",
}
REPLY_STATUS = {
    SendStatus.PENDING.value: "Queued",
    SendStatus.SENDING.value: "Sending",
    SendStatus.SHOWN.value: "Placeholder sent, answer to follow",
    SendStatus.SENT.value: "Sent",
    SendStatus.AMBIGUOUS.value: "Interrupted, may not have arrived",
    SendStatus.REFUSED.value: "Rejected by Telegram",
}
TASK_KIND = {
    TaskKind.CONTROL.value: "Update handled right away",
    TaskKind.MESSAGE.value: "Message",
    TaskKind.NOTICE.value: "Queue notice to a member",
    TaskKind.GREETING.value: "Welcome message to a member",
    TaskKind.STEP.value: "Background step",
    TaskKind.RERUN.value: "Re-run for an operator",
}
SOURCE = {
    Source.TELEGRAM.value: "Telegram",
    Source.SHELL.value: "Shell",
    Source.RERUN.value: "Re-run by an operator",
    Source.TRIAL.value: "Model test",
}
ACCESS_KIND = {
    AccessKind.PAGE.value: "Page",
    AccessKind.EXPORT.value: "Export",
    AccessKind.RERUN.value: "Comparison with a re-run",
    AccessKind.TRIAL.value: "Recorded step in a model test",
}
PAYER = {Payer.SHARED.value: "Team key", Payer.MEMBER.value: "Member's key"}

_STATUS: Mapping[type[Any], Mapping[str, str]] = {
    PipelineRun: RUN_STATUS,
    StepRun: STEP_STATUS,
    LLMCall: CALL_STATUS,
    Task: TASK_STATUS,
    OutgoingMessage: REPLY_STATUS,
}


@register.filter
def status_label(row: Any) -> str:
    """Return the status label of a run, step, call, task or reply."""
    return _STATUS[type(row)].get(row.status, row.status)


@register.filter
def source_label(run: PipelineRun) -> str:
    """Return the label of a run's source."""
    return SOURCE.get(run.source, run.source)


@register.filter
def kind_label(task: Task) -> str:
    """Return the label of a task's kind."""
    return TASK_KIND.get(task.kind, task.kind)


@register.filter
def payer(stored: str) -> str:
    """Return the label of a stored payer."""
    return PAYER.get(stored, stored)


class LabelDropdownFilter(ChoicesDropdownFilter):
    """The theme's dropdown filter for a column's choices, with the labels of this module."""

    labels: Mapping[str, str]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        for choice in super().choices(changelist):
            field = choice["form"].fields[self.lookup_kwarg]
            field.choices = [
                (value, self.labels.get(value, words)) for value, words in field.choices
            ]
            yield choice


class RunStatusFilter(LabelDropdownFilter):
    """Filters runs by status."""

    labels = RUN_STATUS


class SourceFilter(LabelDropdownFilter):
    """Filters runs by source."""

    labels = SOURCE


class AccessKindFilter(LabelDropdownFilter):
    """Filters log entries by the kind of access."""

    labels = ACCESS_KIND


class TaskKindFilter(admin.ChoicesFieldListFilter):
    """Filters tasks by kind."""

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        words = {str(kind.label): TASK_KIND[kind.value] for kind in TaskKind}
        for choice in super().choices(changelist):
            yield {**choice, "display": words.get(str(choice["display"]), choice["display"])}
