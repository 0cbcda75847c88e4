"""Each process reports its overrides' version, so that the admin can show a change's rollout.

A thread with its own connection writes the process's `ResolverProcess` row, at once when the
resolver finds a change and otherwise every five seconds. A report that cannot be written is
dropped, because reporting must never delay a look-up.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db import Error as DatabaseError
from django.utils import timezone

from agents.model_config import Freshness, ModelConfigService, OverridesUnknown
from agents.models import OverrideVersion, ResolverProcess
from agents.snapshot import close_connection, read_snapshot, use_own_connection

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 0.5
SEEN_EVERY_S = 5.0
ALIVE_FOR = timedelta(seconds=3 * SEEN_EVERY_S)  # a process counts as gone after three intervals
FORGOTTEN_AFTER = timedelta(hours=1)


class ProcessReport:
    """Reports the overrides' version that this process uses, until it is closed.

    Args:
        service: The process's resolver.
        role: What the process does, such as "bot"; for the pages.
        on_stale: Called in the report's thread after it has reported that this process can no
            longer read the overrides. It may use the database.
        on_new: The same, after it has reported that this process uses another version.
    """

    def __init__(
        self,
        service: ModelConfigService,
        role: str,
        on_stale: Callable[[], None] = lambda: None,
        on_new: Callable[[], None] = lambda: None,
    ) -> None:
        self._service = service
        self._role = role
        self._on_stale, self._on_new = on_stale, on_new
        self._id = uuid.uuid4()
        self._version = ""
        self._version_at: datetime | None = None  # of the last change seen; None = none since start
        self._is_closing = False
        self._wake = threading.Event()  # set at a change and at the end
        self._thread = threading.Thread(target=self._run, name="override-report", daemon=True)

    def start(self) -> None:
        """Start the reporting thread."""
        self._service.when_new(self._wake.set)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and delete this process's row."""
        self._is_closing = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        use_own_connection()
        reported, version, was_stale, unseen_s = "", "", False, SEEN_EVERY_S
        while not self._is_closing:
            try:
                freshness = self._service.freshness()
                state = f"{freshness.version} {freshness.is_stale}"
                if state != reported or unseen_s >= SEEN_EVERY_S:
                    self._write(freshness)
                    reported, unseen_s = state, 0.0
                    if freshness.is_stale and not was_stale:
                        self._on_stale()
                    if version not in ("", freshness.version):
                        self._on_new()
                    version, was_stale = freshness.version, freshness.is_stale
            except (OverridesUnknown, DatabaseError, RuntimeError):
                close_connection()
                logger.debug("the process report could not be written", exc_info=True)
            except Exception:  # a report that fails must not end the thread
                logger.exception("the process report failed")
            if self._wake.wait(POLL_INTERVAL_S):
                self._wake.clear()
            unseen_s += POLL_INTERVAL_S
        self._leave()

    def _write(self, freshness: Freshness) -> None:
        now = timezone.now()
        if freshness.version != self._version:
            self._version_at = now if self._version else None
            self._version = freshness.version
        seen = {
            "version": freshness.version,
            "version_at": self._version_at,
            "read_at": now - timedelta(seconds=freshness.age_s),
            "is_stale": freshness.is_stale,
            "seen_at": now,
        }
        if ResolverProcess.objects.filter(process_id=self._id).update(**seen):
            return
        ResolverProcess.objects.create(
            process_id=self._id,
            role=self._role,
            host=socket.gethostname(),
            pid=os.getpid(),
            **seen,
        )
        # Each process does this once, and after it was itself forgotten.
        ResolverProcess.objects.filter(seen_at__lt=now - FORGOTTEN_AFTER).delete()

    def _leave(self) -> None:
        try:
            ResolverProcess.objects.filter(process_id=self._id).delete()
        except DatabaseError:
            logger.debug("the process report could not be taken back", exc_info=True)
        close_connection()


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The rollout of the last change of the overrides."""

    version: str
    processes: tuple[ResolverProcess, ...]
    after_s: float | None  # seconds until the last process had it; None = unknown or not yet

    @property
    def current(self) -> tuple[ResolverProcess, ...]:
        return tuple(process for process in self.processes if process.version == self.version)

    @property
    def is_everywhere(self) -> bool:
        return len(self.current) == len(self.processes) > 0

    @property
    def sentence(self) -> str:
        """The state of the rollout, as one line for operators."""
        count = len(self.processes)
        if not count:
            return "No process is running. Changes apply when one starts."
        if not self.is_everywhere:
            return f"Rolling out… {len(self.current)} of {count}"
        took = "" if self.after_s is None else f" · took {self.after_s:.1f} s"
        return f"Live on all processes ({count} of {count}){took}"


def effect() -> Effect:
    """Return the rollout of the current overrides to the running processes.

    Without a subscription, a process that runs nothing looks for changes twice a second, so
    `after_s` may be up to half a second too long. Processes that started after the change had it
    from their start and do not count for `after_s`.
    """
    version, processes = read_snapshot().version, tuple(living())
    told = Effect(version=version, processes=processes, after_s=None)
    changed_at = OverrideVersion.objects.values_list("changed_at", flat=True).filter(pk=1).first()
    seen_at = [process.version_at for process in processes if process.version_at]
    if not told.is_everywhere or changed_at is None or not seen_at:
        return told
    return replace(told, after_s=max(0.0, (max(seen_at) - changed_at).total_seconds()))


def living() -> list[ResolverProcess]:
    """Return the processes that reported within the last 15 s."""
    return list(
        ResolverProcess.objects.filter(seen_at__gte=timezone.now() - ALIVE_FOR).order_by(
            "role", "host", "pid"
        )
    )
