"""The revision token in the cache, which tells every process that the overrides have changed.

The token only signals a change and contains no data: a process reads the table itself if the token
differs from the one of its last read. So a forged token costs a query and has no other effect.
Tokens never expire. A missing token, or a value that is not a short string, is replaced by a new
one.
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
# The whole key (the prefix in the settings, this prefix, the identity of the database) must never
# change: during a deployment, processes of two releases announce changes to each other.
_KEY_PREFIX = "revision:"
# Until release 1.1: the key that older processes use, the same for every database. Remove the
# constant and its uses in 1.1.
_KEY_BEFORE_1_1 = "1:revision"
_PROBE_KEY = "probe"  # never written; reading it shows whether the cache answers


class CacheUnreachable(Exception):
    """The cache of the overrides does not answer."""


def announce_change(identity: str | None = None) -> None:
    """Set a new token, so that every process of this database reads the overrides again.

    Call this after the commit. If the token were set inside the transaction, readers could store,
    under the new token, data from before the commit or data that is rolled back. `identity` is the
    database's identity; if None, it is read through this thread's connection.

    Raises:
        CacheUnreachable: other processes see the change only when their snapshot is 60 s old.
        django.db.Error: the identity could not be read, with the same consequence.
    """
    keys = _keys(identity or read_identity())
    with _cache() as cache:
        cache.set_many(dict.fromkeys(keys, _new_token()), timeout=None)


def current_token(identity: str) -> str:
    """Return the token of the database with this identity; set a new one if there is none.

    Raises:
        CacheUnreachable: the cache does not answer, so a change may go unnoticed.
    """
    keys = _keys(identity)
    with _cache() as cache:
        found = cache.get_many(keys)
        tokens = {key: found.get(key) for key in keys}
        missing = [key for key, token in tokens.items() if not _is_token(token)]
        if missing:
            # `set_many` rather than `add`, because an invalid value must also be replaced.
            minted = dict.fromkeys(missing, _new_token())
            cache.set_many(minted, timeout=None)
            tokens |= minted
    return " ".join(str(tokens[key]) for key in keys)


def check_cache() -> None:
    """Read from the cache; raises CacheUnreachable if it does not answer."""
    with _cache() as cache:
        cache.get(_PROBE_KEY)


def is_reachable() -> bool:
    """Return whether the cache answers, for the page that tells when a change takes effect."""
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
    """Yield the cache, and turn every exception of its backend into `CacheUnreachable`.

    For example, a file cache raises OSError, and Redis has its own exception classes.
    """
    try:
        yield caches[CACHE_ALIAS]
    except Exception as error:
        raise CacheUnreachable(f"{type(error).__name__}: {error}") from error
