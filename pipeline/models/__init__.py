"""The tables of the pipeline app."""

from __future__ import annotations

from pipeline.models.inbox import OutgoingMessage, Poller, Task, TelegramUpdate
from pipeline.models.knowledge import PlaybookPage
from pipeline.models.members import Invite, Member, PastedKey
from pipeline.models.runs import LLMCall, PipelineRun, PromptText, StepRun
from pipeline.models.training import Scenario

__all__ = [
    "Invite",
    "LLMCall",
    "Member",
    "OutgoingMessage",
    "PastedKey",
    "PipelineRun",
    "PlaybookPage",
    "Poller",
    "PromptText",
    "Scenario",
    "StepRun",
    "Task",
    "TelegramUpdate",
]
