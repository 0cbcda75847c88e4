"""The app of the pipelines: how a message becomes an answer, and the proof of what happened."""

from __future__ import annotations

import importlib

from django.apps import AppConfig


class PipelineConfig(AppConfig):
    """Registers the checks of this app."""

    name = "pipeline"
    verbose_name = "Pipelines"

    def ready(self) -> None:
        importlib.import_module("pipeline.checks")
