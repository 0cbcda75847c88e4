"""The resolver: which override an agent has right now, and how current the answer is.

`ModelConfigService` is the only reader of the overrides at run time. It answers from an immutable
snapshot in memory, polls the cache's revision token at most every 50 ms, and queries the table if
the token has changed or the snapshot is 60 s old. Polls and queries run in a thread with its own
connection, so that a lock wait in the process's ORM thread cannot delay a look-up.

If the token keeps changing, because other programs write to the cache, there are at most ten
queries a second; a change after a quiet second is read at once.

If neither cache nor database answers, the last snapshot stays in force and is marked stale. Falling
back to "no overrides" would charge calls to another key.
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
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from django.conf import settings
from django.db import Error as DatabaseError

from agents import revision
from agents.database_identity import read_identity
from agents.llm.base import LLMProvider
from agents.llm.keys import ApiKey, PlainKey
from agents.llm.router import create_shared_provider
from agents.models import OnFailure
from agents.snapshot import (
    Override,
    Snapshot,
    close_connection,
    over_own_connection,
    read_snapshot,
    use_own_connection,
)

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 0.05  # a change is in effect within 100 ms: one poll plus one query
DATABASE_EVERY_S = 1.0  # minimum interval between queries without a cache or in an outage
ANSWER_WITHIN_S = 3.0  # a connected database that is silent for longer counts as down
CACHE_AGAIN_AFTER_S = 5.0  # each try to reach an unresponsive cache costs its socket timeout
# Token bucket for queries after new tokens: a burst of two, then one every 125 ms. That is at most
# ten a second, and delays a change in the middle of a storm by at most 125 ms.
QUERIES_AT_ONCE = 2
QUERY_INTERVAL_S = 0.125


class OverridesUnknown(Exception):
    """This process has never read the overrides, so it must not run a step; retry later."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedSnapshot:
    """The snapshot in this process's memory, with the time until which it needs no poll."""

    snapshot: Snapshot
    token: str | None  # None: read without the cache
    queried_at: float  # monotonic
    good_until: float  # monotonic
    is_stale: bool = False


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
        self._identity: str | None = None  # of the database; None: it was never reached
        self._next_query_at = -math.inf  # state of the token bucket: the next evenly spaced query
        self._cache_down_until: float | None = None
        self._in_outage = False
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None  # created on first use: after a fork
        self._pending: Future[CachedSnapshot] | None = None
        self._look_started = 0.0
        _services.add(self)

    def __repr__(self) -> str:
        cached = self._cached
        return f"<ModelConfigService {cached.snapshot.version if cached else 'never read'}>"

    async def get_override(self, agent_name: str) -> Override | None:
        """Return the override in force for the agent, None if it has none.

        Raises:
            OverridesUnknown: neither cache nor database has answered since the process started.
        """
        return (await self._current()).snapshot.overrides.get(agent_name)

    async def get_all(self) -> Mapping[str, Override]:
        """Return all overrides in force, by agent name.

        Raises:
            OverridesUnknown: see `get_override`.
        """
        return (await self._current()).snapshot.overrides

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
        cached = await self._current()
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
        if cached is None or self._clock() >= cached.good_until:
            look = self._refreshing()
            try:
                cached = look.result(self._patience_s())
            except TimeoutError as error:
                cached = self._stale(error)
        return self._freshness(cached)

    def close(self) -> None:
        """Stop the thread and close its connection; a later look-up starts new ones.

        Waits at most 3 s for a refresh in progress, so that a hanging database does not delay the
        shutdown.
        """
        with self._lock:
            executor, self._executor, self._pending = self._executor, None, None
        if executor is not None:
            closing = executor.submit(close_connection)
            futures.wait([closing], timeout=ANSWER_WITHIN_S)
            executor.shutdown(wait=closing.done(), cancel_futures=True)

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

    async def _current(self) -> CachedSnapshot:
        cached = self._cached
        if cached is not None and self._clock() < cached.good_until:
            return cached
        look = asyncio.wrap_future(self._refreshing())
        try:
            async with asyncio.timeout(self._patience_s()):
                # shield: cancelling one caller must not cancel the refresh that others wait for.
                return await asyncio.shield(look)
        except TimeoutError as error:
            return self._stale(error)

    def _refreshing(self) -> Future[CachedSnapshot]:
        """Return the refresh in progress, or start one; concurrent callers share it."""
        with self._lock:
            pending = self._pending
            if pending is None or pending.done():
                executor = self._executor or ThreadPoolExecutor(
                    1, thread_name_prefix="overrides", initializer=use_own_connection
                )
                self._executor = executor
                self._look_started = self._clock()
                pending = self._pending = executor.submit(self._refresh)
            return pending

    def _patience_s(self) -> float:
        """Return the seconds that the refresh in progress may still take; 0 if it is overdue."""
        return max(0.0, self._look_started + ANSWER_WITHIN_S - self._clock())

    # --- in the resolver's own thread -----------------------------------------------------------

    def _refresh(self) -> CachedSnapshot:
        try:
            if self._identity is None:  # without it there is no cache key to poll
                self._identity = over_own_connection(read_identity)
        except DatabaseError as error:
            close_connection()
            return self._stale(error)
        token = self._token(self._identity)
        cached = self._cached
        wait_s = 0.0 if cached is None else self._wait_s(cached, token)
        if cached is None or wait_s <= 0:
            self._cached = self._queried(token, self._identity)
        else:
            self._cached = replace(cached, good_until=self._good_until(cached.queried_at, wait_s))
        return self._cached

    def _wait_s(self, cached: CachedSnapshot, token: str | None) -> float:
        """Return the seconds to use the cached snapshot before the next poll; 0 = query now."""
        now = self._clock()
        age_s = now - cached.queried_at
        if cached.is_stale or age_s >= self._ttl_s:
            return 0.0
        if token is None:
            return DATABASE_EVERY_S if age_s < DATABASE_EVERY_S else 0.0
        if token == cached.token:
            return POLL_INTERVAL_S
        burst_s = (QUERIES_AT_ONCE - 1) * QUERY_INTERVAL_S
        return min(POLL_INTERVAL_S, max(0.0, self._next_query_at - burst_s - now))

    def _token(self, identity: str) -> str | None:
        """Return the cache's token; None while the cache does not answer."""
        if self._cache_down_until is not None and self._clock() < self._cache_down_until:
            return None
        try:
            if self._cache_down_until is not None:
                # Changes saved while the cache was down were not announced to other processes.
                revision.announce_change(identity)
            token = revision.current_token(identity)
        except revision.CacheUnreachable as error:
            if self._cache_down_until is None:
                logger.warning(
                    "overrides: the cache does not answer (%s), reading the database",
                    error,
                )
            self._cache_down_until = self._clock() + CACHE_AGAIN_AFTER_S
            return None
        if self._cache_down_until is not None:
            logger.info("overrides: the cache answers again")
            self._cache_down_until = None
        return token

    def _queried(self, token: str | None, identity: str) -> CachedSnapshot:
        # The clock is read before the query, so that the age is never understated.
        queried_at = self._clock()
        self._next_query_at = max(self._next_query_at, queried_at) + QUERY_INTERVAL_S
        try:
            snapshot, self._identity = over_own_connection(_snapshot_and_identity)
        except DatabaseError as error:
            close_connection()  # so that the next query reconnects
            return self._stale(error)
        if self._identity != identity:
            token = ""  # the token is another database's: the next refresh reads again
        if self._in_outage:
            self._in_outage = False
            logger.info("overrides: read again, %s", snapshot.version)
        wait_s = POLL_INTERVAL_S if token is not None else DATABASE_EVERY_S
        return CachedSnapshot(
            snapshot=snapshot,
            token=token,
            queried_at=queried_at,
            good_until=self._good_until(queried_at, wait_s),
        )

    def _stale(self, error: Exception) -> CachedSnapshot:
        """Return the cached snapshot, marked stale; safe to call from any thread."""
        with self._lock:
            is_news, self._in_outage = not self._in_outage, True
        if is_news:
            logger.error(
                "overrides: cannot be read (%s), keeping what is known", type(error).__name__
            )
        if self._cached is None:
            raise OverridesUnknown(
                "the overrides could not be read since this process started: is the database up?"
            ) from error
        return replace(self._cached, is_stale=True, good_until=self._clock() + DATABASE_EVERY_S)

    def _good_until(self, queried_at: float, wait_s: float) -> float:
        return min(self._clock() + wait_s, queried_at + self._ttl_s)

    # --- fork -----------------------------------------------------------------------------------

    def _start_afresh(self) -> None:
        """Discard the thread, which after a fork exists in the parent process only."""
        self._lock = threading.Lock()  # the inherited lock may be held
        self._executor = None
        self._pending = None


def _snapshot_and_identity() -> tuple[Snapshot, str]:
    # Always both: restoring a dump changes the identity while the connection stays open.
    return read_snapshot(), read_identity()


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
