"""Agents that exist in a test alone: an override may name them as it may name those of the team."""

from __future__ import annotations

from typing import Any

from agents.models import AGENTS


def made_up(name: str) -> str:
    """Return the name of an agent that is known from now on."""
    AGENTS.add(name)
    return name


# How an override is set whose model is unfit on purpose, such as those of the sandbox that fail.
ANYWAY: dict[str, Any] = {"accept_unfit": True, "reason": "The test needs what it does."}
