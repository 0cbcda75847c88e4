"""System checks of the pipeline definitions: report every mistake with its file and line."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, register

from pipeline.running.config import problems


@register
def check_definitions(**kwargs: Any) -> list[CheckMessage]:
    """Report every mistake in a pipeline definition."""
    return [
        Error(str(problem), hint="Correct the file and restart.", id="pipeline.E001")
        for problem in problems()
    ]
