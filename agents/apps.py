"""The app of the agents: who answers, and with which model."""

from __future__ import annotations

import importlib

from django.apps import AppConfig


class AgentsConfig(AppConfig):
    """Registers this app's checks and the shapes of keys that the detector of secrets uses."""

    name = "agents"
    verbose_name = "Agents"

    def ready(self) -> None:
        importlib.import_module("agents.llm.router")
        importlib.import_module("agents.checks")
