"""Agents that exist in a test alone: an override may name them as it may name those of the team."""

from __future__ import annotations

from typing import Any

from agents.models import AGENTS, AgentModelConfig


def made_up(name: str) -> str:
    """Return the name of an agent that is known from now on."""
    AGENTS.add(name)
    return name


# How an override is set whose model is unfit on purpose, such as those of the sandbox that fail.
ANYWAY: dict[str, Any] = {"accept_unfit": True, "reason": "The test needs what it does."}


def set_unchecked(agent_name: str, model_id: str, set_by: str = "ana") -> AgentModelConfig:
    """Set an override from a process that reaches no OpenRouter to ask about the model."""
    return AgentModelConfig.objects.set_checked(
        agent_name, model_id=model_id, set_by=set_by, is_active=True
    )
