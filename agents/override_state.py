"""What the overrides' pages say about the last changes: where they are in effect, and "Undo"."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils import timezone

from agents.models import AgentModelConfig
from agents.override_changes import UNDONE_WITHIN, OverrideChange
from agents.process_report import effect


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentChange:
    """An agent's last change, if it was made within ten minutes."""

    row_id: int
    change: OverrideChange
    minutes: int  # since the change


def recent_changes() -> list[RecentChange]:
    """Return the agents' last changes of the last ten minutes, newest first."""
    at = timezone.now()
    rows = AgentModelConfig.objects.filter(updated_at__gt=at - UNDONE_WITHIN)
    return [
        RecentChange(
            row_id=row.pk,
            change=OverrideChange.to(row),
            minutes=max(0, int((at - row.updated_at).total_seconds() // 60)),
        )
        for row in rows.order_by("-updated_at")
    ]


def state(*, is_in_form: bool) -> dict[str, Any]:
    """Return the banner's context: the team key, the last change's rollout, what can be undone.

    Inside the form of an override, nothing can be undone: a form holds no other, and Enter would
    press the first button. `digest` changes whenever the banner would look different.
    """
    rollout, changes = effect(), [] if is_in_form else recent_changes()
    processes = [(p.role, p.pid, p.version, p.is_stale) for p in rollout.processes]
    shown = repr((rollout.sentence, processes, changes))
    return {
        "has_shared_key": bool(settings.OPENROUTER_API_KEY),
        "effect": rollout,
        "changes": changes,
        "is_in_form": is_in_form,
        "is_moving": bool(changes) or not rollout.is_everywhere,
        "digest": hashlib.sha256(shown.encode()).hexdigest()[:16],
    }
