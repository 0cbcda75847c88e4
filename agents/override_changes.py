"""Changes of the overrides in words, for the admin's list and for the operators' chat."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from agents.models import AgentModelConfig, OverrideVersion

MAX_TOLD = 20  # changes in one message
UNDONE_WITHIN = timedelta(minutes=10)  # by "Undo"; later by "Restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideChange:
    """One change of one agent's override, as its history has it."""

    agent_name: str
    version: int
    before: str  # a model id, or "the default model"
    now: str
    by: str
    reason: str
    at: datetime

    @classmethod
    def to(cls, state: Any) -> OverrideChange:
        """Describe the change that led to this row's, or history entry's, state."""
        return cls.between(AgentModelConfig.objects.before(state), state)

    @classmethod
    def between(cls, before: Any, state: Any) -> OverrideChange:
        """Describe the change from one state, None if there was none, to the next one."""
        return cls(
            agent_name=state.agent_name,
            version=state.version,
            before=_model(before),
            now=_model(state),
            by=state.set_by or "an unknown operator",
            reason=state.reason,
            at=getattr(state, "history_date", None) or state.updated_at,
        )

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"{self.agent_name}: {self.before} → {self.now} (v{self.version} by {self.by}{why})"


def current_version() -> int:
    """Return the number of the last change; 0 if there was none."""
    return OverrideVersion.objects.values_list("n", flat=True).filter(pk=1).first() or 0


def changes_since(version: int) -> list[OverrideChange]:
    """Return the changes after a version, oldest first; of many, the latest 20."""
    history = AgentModelConfig.history.filter(version__gt=version)
    latest = history.order_by("-version", "-history_id")[:MAX_TOLD]
    return [OverrideChange.to(entry) for entry in reversed(latest)]


def latest_changes(count: int) -> list[OverrideChange]:
    """Return the latest changes of all agents, newest first."""
    history = AgentModelConfig.history.order_by("-version", "-history_id")[:count]
    changes: list[OverrideChange] = []
    later: dict[int, Any] = {}  # by row: the state after the one at hand
    for entry in history:
        if (state := later.get(entry.id)) is not None:
            changes.append(OverrideChange.between(entry, state))
        later[entry.id] = entry
    changes += [OverrideChange.to(state) for state in later.values()]  # one query an agent
    return sorted(changes, key=lambda change: change.version, reverse=True)


def _model(state: Any) -> str:
    return state.model_id if state is not None and state.is_active else "the default model"
