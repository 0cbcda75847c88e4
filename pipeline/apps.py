"""The Django app of the pipelines: turns messages into answers, and records every run."""

from __future__ import annotations

import importlib

from django.apps import AppConfig


class PipelineConfig(AppConfig):
    """Registers system checks, the providers for members' keys, and hooks (`journal.hooks`)."""

    name = "pipeline"
    verbose_name = "Pipelines"

    def ready(self) -> None:
        importlib.import_module("pipeline.checks")
        router = importlib.import_module("agents.llm.router")
        importlib.import_module("pipeline.models.members").PROVIDERS[:] = router.provider_names()
        importlib.import_module("pipeline.people.memory")
        importlib.import_module("pipeline.school.training")
        importlib.import_module("pipeline.operations.usage")
        importlib.import_module("pipeline.operations.budget_check")
