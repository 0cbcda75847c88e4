"""The app of the pipelines: how a message becomes an answer, and the proof of what happened."""

from __future__ import annotations

import importlib

from django.apps import AppConfig


class PipelineConfig(AppConfig):
    """Registers this app's checks and what is done when the journal writes (`journal.hooks`)."""

    name = "pipeline"
    verbose_name = "Pipelines"

    def ready(self) -> None:
        importlib.import_module("pipeline.checks")
        importlib.import_module("pipeline.people.memory")
        importlib.import_module("pipeline.school.training")
        importlib.import_module("pipeline.operations.figures")
