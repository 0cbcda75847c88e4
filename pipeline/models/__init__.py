"""The tables of the pipeline app."""

from __future__ import annotations

from pipeline.models.access_log import TextsRead
from pipeline.models.budgets import Budget, BudgetPeriod, Reservation
from pipeline.models.inbox import (
    Action,
    MovedChat,
    OutgoingMessage,
    Poller,
    Press,
    SentAlert,
    Task,
    TelegramUpdate,
)
from pipeline.models.knowledge import CasebookEntry, PlaybookPage
from pipeline.models.members import Fact, Invite, Member, OperatorLink, PastedKey
from pipeline.models.operations import AlertNotification, ClosedPeriod, PeriodicJob, UsageRollup
from pipeline.models.runs import LLMCall, PipelineRun, StepRun, TextBlob
from pipeline.models.training import Exercise, Lesson, Scenario, Track

__all__ = [
    "Action",
    "AlertNotification",
    "Budget",
    "BudgetPeriod",
    "CasebookEntry",
    "ClosedPeriod",
    "Exercise",
    "Fact",
    "Invite",
    "LLMCall",
    "Lesson",
    "Member",
    "MovedChat",
    "OperatorLink",
    "OutgoingMessage",
    "PastedKey",
    "PeriodicJob",
    "PipelineRun",
    "PlaybookPage",
    "Poller",
    "Press",
    "Reservation",
    "Scenario",
    "SentAlert",
    "StepRun",
    "Task",
    "TelegramUpdate",
    "TextBlob",
    "TextsRead",
    "Track",
    "UsageRollup",
]
