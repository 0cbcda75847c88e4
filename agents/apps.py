"""Django app of the agents, their providers and their model overrides."""

from __future__ import annotations

import importlib

from django.apps import AppConfig


class AgentsConfig(AppConfig):
    """Registers system checks, key formats for the key detector, and the agents' names."""

    name = "agents"
    verbose_name = "Agents"

    def ready(self) -> None:
        importlib.import_module("agents.llm.router")
        importlib.import_module("agents.checks")
        registry = importlib.import_module("agents.registry")
        names = (agent.name for agent in registry.default_registry())
        importlib.import_module("agents.models").AGENTS.update(names)
