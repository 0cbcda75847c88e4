"""The Django project as an app, for its templates, static files and settings checks."""

from __future__ import annotations

import importlib

from django.apps import AppConfig
from django.conf import settings


class ObservatoryConfig(AppConfig):
    """Registers the settings checks, and installs telemetry if an OTLP endpoint is set."""

    name = "observatory"
    verbose_name = "Observatory"

    def ready(self) -> None:
        importlib.import_module("observatory.checks")
        if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
            # Not imported otherwise: its libraries cost a process 0.12 s at start and 9 MB.
            importlib.import_module("observatory.telemetry.reporter").install()
