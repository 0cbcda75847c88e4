"""The revision token in the cache: how every process learns that the overrides changed.

The cache says that they changed, never what they are: a process whose token differs from the one
it read under reads the table itself. So a forged token costs a query and decides nothing. Tokens
never expire. A missing one, or anything that is not a short text, is replaced by a new one.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.cache import BaseCache, caches

from agents.database_identity import read_identity

logger = logging.getLogger(__name__)

CACHE_ALIAS = "overrides"
MAX_TOKEN_LENGTH = 64
# The whole key, with the prefix in the settings, stays as it is whatever else changes: processes of
# two releases announce to each other during a deploy. The identity of the database follows.
_KEY_PREFIX = "revision:"
# Until release 1.1: the key of processes older than this one, the same for every database. With 1.1
# the constant and its two uses go.
_KEY_BEFORE_1_1 = "1:revision"
_PROBE_KEY = "probe"  # is never written: reading it shows that the cache answers


class CacheUnreachable(Exception):
    """The cache of the overrides does not answer."""


def announce_change(identity: str | None = None) -> None:
    """Set a new token, so that every process of this database reads the overrides again.

    Called after the commit: a token set inside the transaction would make readers keep, under the
    new token, what they read before the commit or what a rollback takes back. `identity` is the
    database's, asked of this thread's connection if it is not given.

    Raises:
        CacheUnreachable: other processes see the change only when their snapshot is 60 s old.
        django.db.Error: the same, because the database did not say who it is.
    """
    keys = _keys(identity or read_identity())
    with _cache() as cache:
        cache.set_many(dict.fromkeys(keys, _new_token()), timeout=None)


def current_token(identity: str) -> str:
    """Return the token of the database with this identity; set a new one where there is none.

    Raises:
        CacheUnreachable: it is unknown whether the overrides changed.
    """
    keys = _keys(identity)
    with _cache() as cache:
        found = cache.get_many(keys)
        tokens = {key: found.get(key) for key in keys}
        missing = [key for key, token in tokens.items() if not _is_token(token)]
        if missing:
            # Not `add`: a value that is no token must be replaced, too.
            minted = dict.fromkeys(missing, _new_token())
            cache.set_many(minted, timeout=None)
            tokens |= minted
    return " ".join(str(tokens[key]) for key in keys)


def check_cache() -> None:
    """Read from the cache; raises CacheUnreachable if it does not answer."""
    with _cache() as cache:
        cache.get(_PROBE_KEY)


def is_reachable() -> bool:
    """Tell whether the cache answers, for the page that says when a change is in effect."""
    try:
        check_cache()
    except CacheUnreachable:
        logger.warning("the cache of the overrides does not answer", exc_info=True)
        return False
    return True


def _keys(identity: str) -> list[str]:
    return [f"{_KEY_PREFIX}{identity}", _KEY_BEFORE_1_1]


def _is_token(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TOKEN_LENGTH


def _new_token() -> str:
    return uuid.uuid4().hex


@contextmanager
def _cache() -> Iterator[BaseCache]:
    """Yield the cache; whatever its backend raises comes out as one error.

    A file cache raises OSError, and Redis has classes of its own.
    """
    try:
        yield caches[CACHE_ALIAS]
    except Exception as error:
        raise CacheUnreachable(f"{type(error).__name__}: {error}") from error
