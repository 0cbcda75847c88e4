"""The operator's pages for members, runs and content."""

from __future__ import annotations

from pipeline.admin.content import PlaybookPageAdmin, ScenarioAdmin
from pipeline.admin.members import MemberAdmin
from pipeline.admin.runs import PipelineRunAdmin

__all__ = ["MemberAdmin", "PipelineRunAdmin", "PlaybookPageAdmin", "ScenarioAdmin"]
