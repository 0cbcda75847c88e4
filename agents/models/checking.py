"""The check of an override's model before it is set, which `agents.catalog` registers.

The models cannot import the catalog, which reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import models


class Check(models.TextChoices):
    """What the check of an override's model said when the override was set."""

    PASSED = "passed", "Checked"
    UNCHECKED = "unchecked", "Not checked"
    ACCEPTED = "accepted", "Unfit, accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suitability:
    """The problems of a model for an agent."""

    problems: tuple[str, ...] = ()  # what the model lacks, or that it does not exist
    unchecked: str = ""  # why it could not be checked; "" if it was, or need not be

    @property
    def check(self) -> Check:
        """What is recorded once the override is saved."""
        if self.problems:
            return Check.ACCEPTED
        return Check.UNCHECKED if self.unchecked else Check.PASSED


class UnfitModel(ValidationError):
    """The model does not exist, or lacks what the agent needs; nothing was saved."""

    def __init__(self, agent_name: str, model_id: str, problems: tuple[str, ...]) -> None:
        super().__init__(
            f"{model_id} does not suit {agent_name}: {'; '.join(problems)}.", code="unfit"
        )
        self.problems = problems


_check: Callable[[str, str], Suitability] = lambda agent_name, model_id: Suitability()  # noqa: E731


def check_models_with(check: Callable[[str, str], Suitability]) -> None:
    """Have the repository call `check(agent_name, model_id)` before it sets a model."""
    global _check
    _check = check


def run_check(agent_name: str, model_id: str) -> Suitability:
    """Call the check that is registered; without one, no model has problems."""
    return _check(agent_name, model_id)
