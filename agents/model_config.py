"""The resolver: which model an agent runs on right now, and how sure we are of it.

`ModelConfigService` is the one reader of the overrides at run time. It answers from a frozen
snapshot in memory, looks at the cache's revision token at most every 50 ms, and reads the table
when the token changed or the snapshot is 60 s old. Looks and queries run in a thread with a
connection of its own, so that a lock wait in the process's ORM thread cannot delay a look-up.

When neither cache nor database answers, the last snapshot stays in force and is marked stale: to
fall back to "no overrides" would move calls to another person's key.
"""

from __future__ import annotations

import asyncio
import logging
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
from agents.llm.base import LLMProvider, Purse
from agents.llm.keys import ApiKey, PlainKey
from agents.llm.router import create_provider
from agents.models import OnFailure
from agents.snapshot import (
    NotASnapshot,
    Override,
    Snapshot,
    close_connection,
    read_over_own_connection,
    use_own_connection,
)

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.05  # a change is in effect within 100 ms: one look plus one query
DATABASE_EVERY_S = 1.0  # without a cache, or in an outage, the database is asked no more often
ANSWER_WITHIN_S = 3.0  # a database that hangs, connected but silent, counts as down from then on
CACHE_AGAIN_AFTER_S = 5.0  # a frozen cache costs its socket timeout at each try


class OverridesUnknown(Exception):
    """This process has never seen the overrides, so it must run no step; try again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How current an answer is."""

    version: str  # counter and digest of the snapshot, e.g. "v41·3fa9"
    age_s: float  # since the database was asked
    is_stale: bool  # neither cache nor database answers; the last snapshot stays in force


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the overrides say about one agent, and from which snapshot that was read."""

    override: Override | None
    provider: LLMProvider | None  # None: use the default
    reading: Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What this process holds: a snapshot, and until when it may answer without a look."""

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
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._shared_key = PlainKey(shared_key) if isinstance(shared_key, str) else shared_key
        self._has_key = bool(shared_key)
        self._default_model = default_model
        self._ttl_s = ttl_s
        self._clock = clock
        self._wall_clock = wall_clock
        self._known: _Known | None = None
        self._cache_down_until: float | None = None
        self._in_outage = False
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None  # made at the first look: after a fork
        self._pending: Future[_Known] | None = None
        self._look_started = 0.0
        _services.add(self)

    def __repr__(self) -> str:
        known = self._known
        return f"<ModelConfigService {known.snapshot.version if known else 'never read'}>"

    async def get_override(self, agent_name: str) -> Override | None:
        """Return the override in force for the agent, None if it has none.

        Raises:
            OverridesUnknown: neither cache nor database has answered since the process started.
        """
        return (await self._current()).snapshot.overrides.get(agent_name)

    async def get_all(self) -> Mapping[str, Override]:
        """Return all overrides in force, by agent name; raises as `get_override`."""
        return (await self._current()).snapshot.overrides

    async def get_provider_for_agent(self, agent_name: str) -> LLMProvider | None:
        """Return the override's provider on the shared key; None means: use the default.

        Raises as `get_override`.
        """
        return (await self.choose(agent_name)).provider

    async def choose(self, agent_name: str) -> Choice:
        """Return override, provider and evidence for an agent from one and the same snapshot.

        Raises as `get_override`.
        """
        known = await self._current()
        override = known.snapshot.overrides.get(agent_name)
        return Choice(
            override=override,
            provider=self._provider(override) if override else None,
            reading=self._reading(known),
        )

    def read(self) -> Reading:
        """Return how current this process is; blocks, so not for an event loop's thread.

        Raises as `get_override`.
        """
        known = self._known
        if known is None or self._clock() >= known.good_until:
            look = self._refreshing()
            try:
                known = look.result(self._patience_s())
            except TimeoutError as error:
                known = self._stale(error)
        return self._reading(known)

    def close(self) -> None:
        """Stop the thread and close its connection; a later look-up starts them anew.

        Waits at most 3 s for a look under way: a database that hangs must not hold up a stop.
        """
        with self._lock:
            executor, self._executor, self._pending = self._executor, None, None
        if executor is not None:
            closing = executor.submit(close_connection)
            futures.wait([closing], timeout=ANSWER_WITHIN_S)
            executor.shutdown(wait=closing.done(), cancel_futures=True)

    def _reading(self, known: _Known) -> Reading:
        return Reading(
            version=known.snapshot.version,
            age_s=max(0.0, self._clock() - known.queried_at),
            is_stale=known.is_stale,
        )

    def _provider(self, override: Override) -> LLMProvider | None:
        if self._shared_key is None or not self._has_key:
            return None
        return create_provider(
            "openrouter",
            self._shared_key,
            override.model_id,
            purse=Purse.SHARED,
            fallback_model=(
                self._default_model if override.on_failure == OnFailure.DEFAULT_MODEL else ""
            ),
        )

    async def _current(self) -> _Known:
        known = self._known
        if known is not None and self._clock() < known.good_until:
            return known
        look = asyncio.wrap_future(self._refreshing())
        try:
            async with asyncio.timeout(self._patience_s()):
                # shield: one caller that is cancelled must not cancel the look others wait for.
                return await asyncio.shield(look)
        except TimeoutError as error:
            return self._stale(error)

    def _refreshing(self) -> Future[_Known]:
        """Return the look under way, or start one: concurrent callers share it."""
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
        """Return how long the look under way may still take, 0 if it took too long already."""
        return max(0.0, self._look_started + ANSWER_WITHIN_S - self._clock())

    # --- in the resolver's own thread -----------------------------------------------------------

    def _refresh(self) -> _Known:
        token = self._token()
        known = self._known
        if known is not None and self._still_good(known, token):
            wait_s = LOOK_EVERY_S if token is not None else DATABASE_EVERY_S
            self._known = replace(known, good_until=self._good_until(known.queried_at, wait_s))
        else:
            self._known = self._stored(token) or self._queried(token)
        return self._known

    def _token(self) -> str | None:
        """Return the cache's token; None while the cache does not answer."""
        if self._cache_down_until is not None and self._clock() < self._cache_down_until:
            return None
        try:
            if self._cache_down_until is not None:
                # Changes saved while the cache was away were announced to nobody.
                revision.announce_change()
            token = revision.current_token()
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

    def _still_good(self, known: _Known, token: str | None) -> bool:
        age_s = self._clock() - known.queried_at
        if known.is_stale or age_s >= self._ttl_s:
            return False
        return age_s < DATABASE_EVERY_S if token is None else known.token == token

    def _stored(self, token: str | None) -> _Known | None:
        """Return the snapshot that another process stored under the token, if it can be used."""
        if token is None:
            return None
        try:
            snapshot = Snapshot.from_payload(revision.stored_snapshot(token))
        except (revision.CacheUnreachable, NotASnapshot):
            return None  # gone, or poisoned: the database knows
        age_s = self._wall_clock() - snapshot.queried_at
        if not 0 <= age_s < self._ttl_s:
            return None  # too old, or from a clock that does not agree with ours
        if self._known is not None and snapshot.queried_at <= self._known.snapshot.queried_at:
            return None  # a cache that came back with the past must not take us there
        return self._adopt(snapshot, token, self._clock() - age_s)

    def _queried(self, token: str | None) -> _Known:
        # Both clocks are read before the query: an age may be over-stated, never under-stated.
        started, queried_at = self._clock(), self._wall_clock()
        try:
            snapshot = read_over_own_connection(queried_at)
        except DatabaseError as error:
            close_connection()  # so that the next try connects anew
            return self._stale(error)
        if token is not None:
            try:
                revision.store_snapshot(token, snapshot.to_payload(), self._ttl_s)
            except revision.CacheUnreachable:  # only the others lose by it: they query themselves
                logger.debug("overrides: the snapshot could not be stored", exc_info=True)
        return self._adopt(snapshot, token, started)

    def _adopt(self, snapshot: Snapshot, token: str | None, queried_at: float) -> _Known:
        if self._in_outage:
            self._in_outage = False
            logger.info("overrides: read again, %s", snapshot.version)
        wait_s = LOOK_EVERY_S if token is not None else DATABASE_EVERY_S
        return _Known(
            snapshot=snapshot,
            token=token,
            queried_at=queried_at,
            good_until=self._good_until(queried_at, wait_s),
        )

    def _stale(self, error: Exception) -> _Known:
        """Return what is known, marked stale; any thread may ask."""
        with self._lock:
            is_news, self._in_outage = not self._in_outage, True
        if is_news:
            logger.error(
                "overrides: cannot be read (%s), keeping what is known", type(error).__name__
            )
        if self._known is None:
            raise OverridesUnknown(
                "the overrides could not be read since this process started: is the database up?"
            ) from error
        return replace(self._known, is_stale=True, good_until=self._clock() + DATABASE_EVERY_S)

    def _good_until(self, queried_at: float, wait_s: float) -> float:
        return min(self._clock() + wait_s, queried_at + self._ttl_s)

    # --- fork -----------------------------------------------------------------------------------

    def _start_afresh(self) -> None:
        """Forget the thread: after a fork it exists in the parent only."""
        self._lock = threading.Lock()  # the parent's may have been held
        self._executor = None
        self._pending = None


_services: weakref.WeakSet[ModelConfigService] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for service in list(_services):
        service._start_afresh()


os.register_at_fork(after_in_child=_after_fork_in_child)


def service_from_settings() -> ModelConfigService:
    """Return a resolver as the settings describe it; the caller closes it."""
    return ModelConfigService(
        settings.OPENROUTER_API_KEY or None,
        default_model=settings.DEFAULT_MODEL,
        ttl_s=settings.OVERRIDE_TTL_SECONDS,
    )
