"""The resolver: which override an agent has right now, and how current the answer is.

`ModelConfigService` is the only reader of the overrides at run time. It answers from an immutable
snapshot in memory, which a thread of its own keeps current (`agents.resolving`). After `watch`, the
thread looks for changes by itself, and look-ups wait for nothing: with PostgreSQL it is notified of
a change; otherwise it looks every 50 ms, as long as there are look-ups. Without `watch`, or after a
pause, the first look-up waits for a look.

The thread has its own connection, so that a lock wait in the process's ORM thread cannot delay it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connections

from agents.llm.base import LLMProvider
from agents.llm.keys import ApiKey, PlainKey
from agents.llm.router import create_shared_provider
from agents.models import OnFailure
from agents.resolving.refresher import CachedSnapshot, OverridesUnknown, Pace, Refresher
from agents.resolving.thread import LookThread, ThreadEnded
from agents.snapshot import Override, close_connection, over_own_connection

__all__ = ["Freshness", "ModelConfigService", "OverridesUnknown", "Resolution"]

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S = 3.0  # a connected database that is silent for longer counts as down
WATCHED_FOR_S = 5.0  # after the last look-up; then the thread rests until the next one
# What a watching thread may be late before look-ups wait for it; a busy machine delays threads.
WATCHING = Pace(grace_s=1.0, refresh_at=0.95)
SUBSCRIBED = Pace(look_every_s=1.0, grace_s=2.0, refresh_at=0.95)
ON_DEMAND = Pace()
REPLACED_AFTER_S = 5.0  # a thread whose look hangs
MAX_HANGING = 2  # threads that are left behind at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How current a resolution is."""

    version: str  # counter and digest of the snapshot, e.g. "v41·3fa9"
    age_s: float  # seconds since the database was queried
    is_stale: bool  # neither cache nor database answers; the last snapshot stays in force


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The resolver's answer for one agent, with the snapshot it comes from."""

    override: Override | None
    provider: LLMProvider | None  # None: use the default
    freshness: Freshness
    was_removed_outside: bool = False  # the override was removed outside the admin


class ModelConfigService:
    """Answers which override an agent has; safe to share between event loops and threads."""

    def __init__(
        self,
        shared_key: str | ApiKey | None,
        *,
        default_model: str = "",
        ttl_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared_key = PlainKey(shared_key) if isinstance(shared_key, str) else shared_key
        self._has_key = bool(shared_key)
        self._default_model = default_model
        self._ttl_s = ttl_s
        self._clock = clock
        self._cached: CachedSnapshot | None = None
        self._asked_at = -math.inf
        self._is_watching = False
        self._pace = ON_DEMAND  # of the last look
        self._alert: Callable[[str], None] = logger.error
        self._on_new: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._thread: LookThread | None = None  # created on first use: after a fork
        self._hanging: list[LookThread] = []
        self._refresher = Refresher(ttl_s=ttl_s, clock=clock)
        _services.add(self)

    def __repr__(self) -> str:
        cached = self._cached
        return f"<ModelConfigService {cached.snapshot.version if cached else 'never read'}>"

    async def get_override(self, agent_name: str) -> Override | None:
        """Return the override in force for the agent, None if it has none.

        Raises:
            OverridesUnknown: neither cache nor database has answered since the process started.
        """
        cached = self._usable() or await self._looked()
        return cached.snapshot.overrides.get(agent_name)

    async def get_all(self) -> Mapping[str, Override]:
        """Return all overrides in force, by agent name.

        Raises:
            OverridesUnknown: see `get_override`.
        """
        cached = self._usable() or await self._looked()
        return cached.snapshot.overrides

    async def get_provider_for_agent(self, agent_name: str) -> LLMProvider | None:
        """Return the override's provider on the shared key; None means: use the default.

        Raises:
            OverridesUnknown: see `get_override`.
        """
        return (await self.resolve(agent_name)).provider

    async def resolve(self, agent_name: str) -> Resolution:
        """Return override, provider and freshness for an agent, all from the same snapshot.

        Raises:
            OverridesUnknown: see `get_override`.
        """
        cached = self._usable() or await self._looked()
        override = cached.snapshot.overrides.get(agent_name)
        return Resolution(
            override=override,
            provider=self._provider(override) if override else None,
            freshness=self._freshness(cached),
            was_removed_outside=agent_name in cached.snapshot.removed_outside,
        )

    def freshness(self) -> Freshness:
        """Return how current this process's snapshot is; blocks, so never call it on an event loop.

        Raises:
            OverridesUnknown: see `get_override`.
        """
        cached = self._cached
        while cached is None or self._clock() >= cached.good_until:
            look, patience_s = self._ask()
            try:
                cached = look.result(patience_s)
                break
            except TimeoutError as error:
                cached = self._outdated(error)
            except ThreadEnded:
                continue
        return self._freshness(cached)

    def watch(self, alert: Callable[[str], None] = logger.error) -> None:
        """Keep the snapshot current from now on, so that look-ups need not wait.

        Args:
            alert: Is told, from any thread, of a thread of the resolver that had to be replaced.
        """
        self._is_watching, self._alert = True, alert
        self._ask()

    def when_new(self, call: Callable[[], object]) -> None:
        """Have `call` called, in the resolver's thread, when the overrides turn out changed."""
        self._on_new = call

    def close(self) -> None:
        """Stop the thread and close its connection; a later look-up starts new ones.

        Waits at most 3 s for a look in progress, so that a hanging database does not delay the
        shutdown.
        """
        self._is_watching = False
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.close(ANSWER_WITHIN_S)

    def _freshness(self, cached: CachedSnapshot) -> Freshness:
        return Freshness(
            version=cached.snapshot.version,
            age_s=max(0.0, self._clock() - cached.queried_at),
            is_stale=cached.is_stale,
        )

    def _provider(self, override: Override) -> LLMProvider | None:
        if self._shared_key is None or not self._has_key:
            return None
        return create_shared_provider(
            self._shared_key,
            override.model_id,
            fallback_model=(
                self._default_model if override.on_failure == OnFailure.DEFAULT_MODEL else ""
            ),
        )

    def _usable(self) -> CachedSnapshot | None:
        """Return the snapshot, or None if a look must come first."""
        self._asked_at = now = self._clock()
        cached = self._cached
        return cached if cached is not None and now < cached.good_until else None

    async def _looked(self) -> CachedSnapshot:
        while True:
            asked, patience_s = self._ask()
            if patience_s <= 0:  # each waiter would stay with the future until the hang ends
                return self._outdated(TimeoutError("the look takes too long"))
            try:
                async with asyncio.timeout(patience_s):
                    # shield: cancelling one caller must not cancel the look that others wait for.
                    return await asyncio.shield(asyncio.wrap_future(asked))
            except TimeoutError as error:
                return self._outdated(error)
            except ThreadEnded:
                continue

    def _outdated(self, error: TimeoutError) -> CachedSnapshot:
        """Return what is known although a look takes too long."""
        cached = self._cached
        if cached is not None and self._clock() < cached.good_until:  # it has just ended
            return cached
        return self._refresher.stale(cached, error)

    def _ask(self) -> tuple[Future[CachedSnapshot], float]:
        """Return the look in progress or a new one, and how many seconds to wait for it."""
        with self._lock:
            self._replace_if_hanging()
            asked = self._thread.ask() if self._thread is not None else None
            if self._thread is None or asked is None:
                has_died = self._thread is not None
                thread = LookThread(self._look, self._pause_s, self._clock)
                asked = thread.ask()
                thread.start()
                self._thread = thread
                if has_died:
                    self._alert("The thread that reads the overrides has ended; a new one reads.")
            if asked is None:
                raise AssertionError("a new thread takes a request")
            return asked, max(0.0, ANSWER_WITHIN_S - self._thread.busy_for_s)

    def _replace_if_hanging(self) -> None:
        if self._thread is None or self._thread.busy_for_s < REPLACED_AFTER_S:
            return
        self._hanging = [thread for thread in self._hanging if thread.is_alive()]
        if len(self._hanging) >= MAX_HANGING:
            return
        self._alert(
            f"The overrides could not be read for {REPLACED_AFTER_S:.0f} s, because the database "
            "or the cache doesn't answer. The last known overrides stay in force; trying again "
            "over a new connection."
        )
        self._thread.leave()
        self._hanging.append(self._thread)
        self._thread = None
        self._refresher = self._refresher.successor()  # the hanging look still uses the other

    # --- in the resolver's own thread -----------------------------------------------------------

    def _look(self, thread: LookThread) -> CachedSnapshot:
        before, subscription = self._cached, thread.subscription
        self._pace = self._pace_now(thread)
        was_announced = subscription.take_news()
        if was_announced:
            self._refresher.announce()
        found = self._refresher.look(before, self._pace)
        is_new = before is not None and found.snapshot.version != before.snapshot.version
        # Found by looking. If its notification is not here either, notifications do not arrive, for
        # example because of a pooler.
        if is_new and not was_announced and self._pace is SUBSCRIBED:
            subscription.receive()
            if not subscription.has_news:
                subscription.distrust()
        with self._lock:
            is_current = thread is self._thread  # not if it hung, and another one looks now
            if is_current:
                self._cached = found
        if is_current:
            self._refresher.note_answer(found)
            if is_new:
                self._on_new()
        return found

    def _pace_now(self, thread: LookThread) -> Pace:
        if not self._is_watching:
            return ON_DEMAND
        if connections["default"].vendor == "postgresql":
            try:
                over_own_connection(thread.subscription.renew)
            except DatabaseError:
                close_connection()  # the look finds out as well, and says so
        if thread.subscription.is_live:
            return SUBSCRIBED
        is_asked = self._clock() - self._asked_at < WATCHED_FOR_S
        return WATCHING if is_asked else ON_DEMAND

    def _pause_s(self, thread: LookThread) -> float | None:
        """Return the seconds until the thread's next look; None if it rests until it is asked."""
        if self._pace is ON_DEMAND or self._cached is None:
            return None
        return max(0.0, self._cached.look_at - self._clock())

    # --- fork -----------------------------------------------------------------------------------

    def _start_afresh(self) -> None:
        """Discard the thread, which after a fork exists in the parent process only."""
        self._lock = threading.Lock()  # the inherited lock may be held
        self._thread, self._hanging = None, []
        if self._cached is not None:
            self._cached = replace(self._cached, good_until=-math.inf)  # no thread looks
        self._refresher = Refresher(ttl_s=self._ttl_s, clock=self._clock)
        # They belong to threads and to an event loop of the parent.
        self._alert, self._on_new = logger.error, lambda: None


_services: weakref.WeakSet[ModelConfigService] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for service in list(_services):
        service._start_afresh()


os.register_at_fork(after_in_child=_after_fork_in_child)


def service_from_settings() -> ModelConfigService:
    """Create a resolver from the settings; the caller must close it."""
    return ModelConfigService(
        settings.OPENROUTER_API_KEY or None,
        default_model=settings.DEFAULT_MODEL,
        ttl_s=settings.OVERRIDE_TTL_SECONDS,
    )
