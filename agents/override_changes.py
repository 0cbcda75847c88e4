"""What changed in the overrides since a version, for those who are told of every change."""

from __future__ import annotations

from dataclasses import dataclass

from agents.models import AgentModelConfig, OverrideVersion

MAX_TOLD = 20  # changes; who comes back after more reads the list in the admin
DEFAULT = "the default model"


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideChange:
    """One change of one agent's override, as its history has it."""

    agent_name: str
    version: int
    before: str  # a model id, or "the default model"
    now: str
    by: str
    reason: str

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        by = self.by or "an unknown operator"
        return f"{self.agent_name}: {self.before} → {self.now} (v{self.version} by {by}{why})"


def current_version() -> int:
    """Return the number of the last change; 0 if there was none."""
    return OverrideVersion.objects.values_list("n", flat=True).filter(pk=1).first() or 0


def changes_since(version: int) -> list[OverrideChange]:
    """Return the changes after a version, oldest first; of many, the latest 20."""
    history = AgentModelConfig.history
    latest = history.filter(version__gt=version).order_by("-version", "-history_id")[:MAX_TOLD]
    found = []
    for entry in reversed(latest):
        earlier = history.filter(id=entry.id, version__lt=entry.version)
        before = earlier.order_by("-version", "-history_id").first()
        found.append(
            OverrideChange(
                agent_name=entry.agent_name,
                version=entry.version,
                before=before.model_id if before is not None and before.is_active else DEFAULT,
                now=entry.model_id if entry.is_active else DEFAULT,
                by=entry.set_by,
                reason=entry.reason,
            )
        )
    return found
