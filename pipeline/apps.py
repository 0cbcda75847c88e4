"""The app of the pipelines: how a message becomes an answer, and the proof of what happened."""

from __future__ import annotations

import importlib

from django.apps import AppConfig


class PipelineConfig(AppConfig):
    """Registers checks, the providers of members, and what the journal does (`journal.hooks`)."""

    name = "pipeline"
    verbose_name = "Pipelines"

    def ready(self) -> None:
        importlib.import_module("pipeline.checks")
        router = importlib.import_module("agents.llm.router")
        importlib.import_module("pipeline.models.members").PROVIDERS[:] = router.provider_names()
        importlib.import_module("pipeline.people.memory")
        importlib.import_module("pipeline.school.training")
        importlib.import_module("pipeline.operations.usage")
