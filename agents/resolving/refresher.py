"""When the resolver asks the cache and the database, and what it knows afterwards.

A look reads the cache's revision token, and queries the table if the token has changed, if the
database announced a change, or if the snapshot is 60 s old. If the token keeps changing, because
other programs write to the cache, there are at most ten queries a second; a change after a quiet
second is read at once.

If neither cache nor database answers, the last snapshot stays in force and is marked stale. Falling
back to "no overrides" would charge calls to another key.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from django.db import Error as DatabaseError

from agents import revision
from agents.database_identity import read_identity
from agents.snapshot import Snapshot, close_connection, over_own_connection, read_snapshot

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 0.05  # a change is in effect within 100 ms: one poll plus one query
DATABASE_EVERY_S = 1.0  # minimum interval between queries without a cache or in an outage
CACHE_AGAIN_AFTER_S = 5.0  # each try to reach an unresponsive cache costs its socket timeout
# Token bucket for queries after new tokens: a burst of two, then one every 125 ms. That is at most
# ten a second, and delays a change in the middle of a storm by at most 125 ms.
QUERIES_AT_ONCE = 2
QUERY_INTERVAL_S = 0.125


class OverridesUnknown(Exception):
    """This process has never read the overrides, so it must not run a step; retry later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often to look, and how long to answer without a look."""

    look_every_s: float = POLL_INTERVAL_S
    # Seconds after the next look is due for which the snapshot may still be used. 0: the next
    # look-up triggers a look and waits for it. More: a thread looks by itself, perhaps that late.
    grace_s: float = 0.0
    # The share of the maximum age at which the table is queried; below 1, if a thread queries ahead
    # of time, so that no look-up has to wait for it.
    refresh_at: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedSnapshot:
    """The snapshot in this process's memory, with the time until which it may be used."""

    snapshot: Snapshot
    token: str | None  # None: read without the cache
    queried_at: float  # monotonic, as the other times
    look_at: float  # the next look is due
    good_until: float  # until then it may be used without a look
    is_stale: bool = False


class Refresher:
    """Makes one look after another; `look` must not be called by two threads at once."""

    def __init__(self, *, ttl_s: float, clock: Callable[[], float]) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        self._identity: str | None = None  # of the database; None: it was never reached
        self._next_query_at = -math.inf  # state of the token bucket: the next evenly spaced query
        self._cache_down_until: float | None = None
        self._in_outage = False
        self._is_announced = False
        self._lock = threading.Lock()

    def successor(self) -> Refresher:
        """Return one for another thread, because this one's look hangs; an outage goes on."""
        other = Refresher(ttl_s=self._ttl_s, clock=self._clock)
        with self._lock:
            other._in_outage = self._in_outage
        return other

    def announce(self) -> None:
        """Have the next look query the table, whatever the token says."""
        self._is_announced = True

    def look(self, cached: CachedSnapshot | None, pace: Pace) -> CachedSnapshot:
        """Look whether the overrides have changed since `cached`, and return what is known now.

        Raises:
            OverridesUnknown: nothing answers, and `cached` is None.
        """
        try:
            if self._identity is None:  # without it there is no cache key to poll
                self._identity = over_own_connection(read_identity)
        except DatabaseError as error:
            close_connection()
            return self.stale(cached, error)
        token = self._token(self._identity)
        wait_s = 0.0 if cached is None else self._wait_s(cached, token, pace)
        if cached is None or wait_s <= 0:
            return self._queried(cached, token, self._identity, pace)
        return self._timed(cached, wait_s, pace)

    def stale(self, cached: CachedSnapshot | None, error: Exception) -> CachedSnapshot:
        """Return `cached` marked stale; may be called from any thread.

        Raises:
            OverridesUnknown: `cached` is None.
        """
        with self._lock:
            is_news, self._in_outage = not self._in_outage, True
        if is_news:
            logger.error(
                "overrides: cannot be read (%s), keeping what is known", type(error).__name__
            )
        if cached is None:
            raise OverridesUnknown(
                "the overrides could not be read since this process started: is the database up?"
            ) from error
        again_at = self._clock() + DATABASE_EVERY_S
        return replace(cached, is_stale=True, look_at=again_at, good_until=again_at)

    def note_answer(self, found: CachedSnapshot) -> None:
        """Note that the result of a look is in use, which ends an outage if it is not stale."""
        if self._in_outage and not found.is_stale:
            self._in_outage = False
            logger.info("overrides: read again, %s", found.snapshot.version)

    def _wait_s(self, cached: CachedSnapshot, token: str | None, pace: Pace) -> float:
        """Return the seconds to use the cached snapshot before the next look; 0 = query now."""
        now = self._clock()
        age_s = now - cached.queried_at
        if cached.is_stale or age_s >= self._ttl_s * pace.refresh_at:
            return 0.0
        if token == cached.token and not self._is_announced and token is not None:
            return pace.look_every_s
        if token is None and not self._is_announced:
            return DATABASE_EVERY_S if age_s < DATABASE_EVERY_S else 0.0
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

    def _queried(
        self, cached: CachedSnapshot | None, token: str | None, identity: str, pace: Pace
    ) -> CachedSnapshot:
        # The clock is read before the query, so that the age is never understated.
        queried_at = self._clock()
        self._next_query_at = max(self._next_query_at, queried_at) + QUERY_INTERVAL_S
        try:
            snapshot, self._identity = over_own_connection(_snapshot_and_identity)
        except DatabaseError as error:
            close_connection()  # so that the next query reconnects
            return self.stale(cached, error)
        self._is_announced = False  # only now: a change stays announced until it is read
        if self._identity != identity:
            token = ""  # the token is another database's: the next look reads again
        found = CachedSnapshot(
            snapshot=snapshot, token=token, queried_at=queried_at, look_at=0, good_until=0
        )
        return self._timed(
            found, pace.look_every_s if token is not None else DATABASE_EVERY_S, pace
        )

    def _timed(self, cached: CachedSnapshot, wait_s: float, pace: Pace) -> CachedSnapshot:
        look_at = min(self._clock() + wait_s, cached.queried_at + self._ttl_s * pace.refresh_at)
        good_until = min(look_at + pace.grace_s, cached.queried_at + self._ttl_s)
        return replace(cached, look_at=look_at, good_until=good_until)


def _snapshot_and_identity() -> tuple[Snapshot, str]:
    # Always both: restoring a dump changes the identity while the connection stays open.
    return read_snapshot(), read_identity()
