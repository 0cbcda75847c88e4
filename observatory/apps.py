"""The Django project as an app: templates, static files and the checks of its settings."""

from __future__ import annotations

from django.apps import AppConfig


class ObservatoryConfig(AppConfig):
    """Registers the checks of the settings."""

    name = "observatory"
    verbose_name = "Observatory"
