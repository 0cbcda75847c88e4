"""Django app of the agents, their providers and their model overrides."""

from __future__ import annotations

import importlib

from django.apps import AppConfig


class AgentsConfig(AppConfig):
    """Registers system checks, key formats, the agents' names, and the check of their models."""

    name = "agents"
    verbose_name = "Agents"

    def ready(self) -> None:
        importlib.import_module("agents.llm.router")
        importlib.import_module("agents.checks")
        importlib.import_module("agents.catalog.suitability")
        registry = importlib.import_module("agents.registry")
        names = (agent.name for agent in registry.default_registry())
        importlib.import_module("agents.models").AGENTS.update(names)
