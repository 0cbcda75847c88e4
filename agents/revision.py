"""The revision token in the cache: how every process learns that the overrides changed.

A save sets a new token after its commit; a reader keeps what it has only while the token is the
one it read under. The token never expires; the snapshots stored under it do.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.cache import BaseCache, caches

logger = logging.getLogger(__name__)

CACHE_ALIAS = "overrides"
# The number is the format of what lies in the cache: a deploy never reads the last one's values.
_TOKEN_KEY = "1:revision"  # noqa: S105
_SNAPSHOT_KEY = "1:snapshot:"


class CacheUnreachable(Exception):
    """The cache of the overrides does not answer."""


def announce_change() -> None:
    """Set a new token, so that every process reads the overrides anew.

    Called after the commit: a token set inside the transaction would make readers keep, under the
    new token, what they read before the commit or what a rollback takes back.

    Raises:
        CacheUnreachable: other processes see the change only when their snapshot has aged.
    """
    with _cache() as cache:
        cache.set(_TOKEN_KEY, _new_token(), timeout=None)


def current_token() -> str:
    """Return the token; mint one when there is none, which makes every reader query.

    Raises:
        CacheUnreachable: nobody knows whether the overrides changed.
    """
    with _cache() as cache:
        token = cache.get(_TOKEN_KEY)
        if isinstance(token, str):
            return token
        minted = _new_token()
        # Not `add`: a value that is no text (somebody's poison) must be replaced, too.
        cache.set(_TOKEN_KEY, minted, timeout=None)
        return minted


def stored_snapshot(token: str) -> object:
    """Return what was stored under the token, None if nothing is; raises as `current_token`."""
    with _cache() as cache:
        return cache.get(_SNAPSHOT_KEY + token)


def store_snapshot(token: str, payload: str, timeout_s: float) -> None:
    """Keep a snapshot under the token that was read before its query; raises as `current_token`.

    A slow reader stores an old snapshot under an old token, where nobody looks.
    """
    with _cache() as cache:
        cache.set(_SNAPSHOT_KEY + token, payload, timeout=timeout_s)


def is_reachable() -> bool:
    """Tell whether the cache answers, for the page that says when a change is in effect."""
    try:
        current_token()
    except CacheUnreachable:
        logger.warning("the cache of the overrides does not answer", exc_info=True)
        return False
    return True


def _new_token() -> str:
    return uuid.uuid4().hex


@contextmanager
def _cache() -> Iterator[BaseCache]:
    """Yield the cache; whatever its backend raises comes out as one error.

    A file cache raises OSError, Redis its own classes, and a value pickled by another version of
    a class nearly anything.
    """
    try:
        yield caches[CACHE_ALIAS]
    except Exception as error:
        raise CacheUnreachable(f"{type(error).__name__}: {error}") from error
