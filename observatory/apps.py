"""The Django project as an app: templates, static files and the checks of its settings."""

from __future__ import annotations

import importlib

from django.apps import AppConfig


class ObservatoryConfig(AppConfig):
    """Registers the checks of the settings."""

    name = "observatory"
    verbose_name = "Observatory"

    def ready(self) -> None:
        importlib.import_module("observatory.checks")
