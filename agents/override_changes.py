"""Changes of the overrides in words, for the admin's list and the operators' chat, and undo."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from agents.models import AgentModelConfig, OverrideVersion

MAX_TOLD = 20  # changes in one message
UNDONE_WITHIN = timedelta(minutes=10)  # by "Undo" on the page Overrides; later by "Restore"
UNDO_PRESS = "undo:"  # prefix of the callback data of an "Undo" button in Telegram
MAX_PRESS = 64  # bytes; Telegram's limit for callback data
# What ran within a day is restored without a check; also the limit of "Undo" in Telegram.
UNDONE_FREELY = timedelta(days=1)


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


def last_entry_id() -> int:
    """Return the id of the history's last entry; 0 if there is none."""
    return AgentModelConfig.history.aggregate(Max("history_id"))["history_id__max"] or 0


def entry_after(entry_id: int) -> tuple[Any, Any] | None:
    """Return the history's next entry, and the previous entry of the same override, if any.

    Returns None if `entry_id` is the last entry. Ids rise in the order of the commits, because
    `OverrideVersion.bump` serializes the writers.
    """
    entry = AgentModelConfig.history.filter(history_id__gt=entry_id).order_by("history_id").first()
    if entry is None:
        return None
    # Ordered by id, because the entry of a deletion has the version of the deleted state.
    earlier = AgentModelConfig.history.filter(id=entry.id, history_id__lt=entry.history_id)
    return entry, earlier.order_by("-history_id").first()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoResult:
    """Whether a change was taken back, and the agent's last change now; None if it has none."""

    is_undone: bool
    last: OverrideChange | None
    is_too_old: bool = False  # it is the agent's last change, but was made too long ago

    def was_undone_before(self, version: int) -> bool:
        """Tell whether the agent's last change is an earlier undo of this version."""
        return not self.is_undone and self.last is not None and self.last.reason == _undo(version)


@transaction.atomic
def undo_as(
    operator: AbstractBaseUser, agent_name: str, version: int, *, within: timedelta, where: str = ""
) -> UndoResult:
    """Take back an agent's last change in an operator's name, and write it to the admin's log.

    Nothing changes if the version is not that of the agent's last change, or if it was made longer
    ago than `within`. `where` follows the words of the log entry, such as " in Telegram".

    Raises:
        ValidationError: the agent no longer exists, or the state before is not valid.
    """
    OverrideVersion.hold()
    row = AgentModelConfig.objects.filter(agent_name=agent_name).first()
    if row is None:
        return UndoResult(is_undone=False, last=None)
    is_last = row.version == version
    if not is_last or row.updated_at < timezone.now() - within:
        return UndoResult(is_undone=False, last=OverrideChange.to(row), is_too_old=is_last)
    undone = AgentModelConfig.objects.undo(
        agent_name, version, operator.get_username(), reason=_undo(version)
    )
    if undone is None:
        raise AssertionError("the version was read under the writers' lock")
    LogEntry.objects.log_actions(
        user_id=operator.pk,
        queryset=[undone],
        action_flag=CHANGE,
        change_message=f"Undone: v{version}{where}.",
    )
    return UndoResult(is_undone=True, last=OverrideChange.to(undone))


def undo_press(agent_name: str, version: int) -> str:
    """Return the callback data of a button that undoes a change; "" if it would be too long."""
    press = f"{UNDO_PRESS}{version}:{agent_name}"
    return press if len(press.encode()) <= MAX_PRESS else ""


def _undo(version: int) -> str:
    """Return what the history gives as the reason of an undo."""
    return f"Undo of v{version}"


def _model(state: Any) -> str:
    return state.model_id if state is not None and state.is_active else "the default model"
