"""The admin pages for members, tasks, runs and content."""

from __future__ import annotations

from pipeline.admin.access_log import AccessLogAdmin
from pipeline.admin.budgets import BudgetAdmin
from pipeline.admin.content import (
    CasebookEntryAdmin,
    PlaybookPageAdmin,
    ScenarioAdmin,
    TrackAdmin,
)
from pipeline.admin.members import InviteAdmin, MemberAdmin
from pipeline.admin.operator_links import OperatorLinkAdmin
from pipeline.admin.runs import PipelineRunAdmin
from pipeline.admin.tasks import TaskAdmin

__all__ = [
    "AccessLogAdmin",
    "BudgetAdmin",
    "CasebookEntryAdmin",
    "InviteAdmin",
    "MemberAdmin",
    "OperatorLinkAdmin",
    "PipelineRunAdmin",
    "PlaybookPageAdmin",
    "ScenarioAdmin",
    "TaskAdmin",
    "TrackAdmin",
]
