"""The overrides' revision tokens in Django's caches, read without trusting what is stored there.

Others may be able to write to a cache. What they wrote must not run as code, as a pickle does, nor
cost more than a token does. So a value is read only as far as a token can reach, and what is no
short text reads as absent. Stored values look as in Django's own caches: releases before this one
read and write the same keys.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis.exceptions import ResponseError

MAX_BYTES = 256  # of a stored value; a token has 32 characters

# FileBasedCache writes a pickled expiry, here always None, and then the zipped pickle of the value.
_NO_EXPIRY = pickle.dumps(None, FileBasedCache.pickle_protocol)
# A pickled text of at most 255 bytes: protocol, frame, and the text between these lengths.
_TEXT_STARTS_AT, _TEXT_ENDS_AT = 13, -2


class TextFileCache(FileBasedCache):
    """Django's file cache for short texts that never expire; it unpickles nothing."""

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return the text, `default` where there is none."""
        try:
            path = Path(self._key_to_file(key, version))  # type: ignore[attr-defined]
            with path.open("rb") as file:
                text = _text_in(file.read(MAX_BYTES))
        except FileNotFoundError:
            return default
        return default if text is None else text

    def has_key(self, key: Any, version: int | None = None) -> bool:
        return self.get(key, version=version) is not None

    def touch(self, *args: Any, **kwargs: Any) -> bool:
        raise NotImplementedError("what lies in this cache never expires")


class TextRedisClient(RedisCacheClient):
    """Django's client, which reads no more than the beginning of a value, in one round trip."""

    def get(self, key: Any, default: Any) -> Any:
        return self.get_many([key]).get(key, default)

    def get_many(self, keys: Iterable[Any]) -> dict[Any, Any]:
        keys = list(keys)
        with self.get_client(None).pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.getrange(key, 0, MAX_BYTES)
            values = pipeline.execute(raise_on_error=False)
        loaded = zip(keys, map(self._loaded, values), strict=True)
        return {key: value for key, value in loaded if value is not None}

    def _loaded(self, value: bytes | Exception) -> Any:
        if isinstance(value, ResponseError) and str(value).startswith("WRONGTYPE"):
            return None  # a list or a set: no token
        if isinstance(value, Exception):
            raise value
        return self._serializer.loads(value)  # type: ignore[attr-defined]


class TextRedisCache(RedisCache):
    """Django's Redis cache with that client."""

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = TextRedisClient


def _text_in(data: bytes) -> str | None:
    """Return the text if the bytes are exactly those that Django writes for one, else None."""
    if not data.startswith(_NO_EXPIRY):
        return None
    zipped = zlib.decompressobj()
    try:
        pickled = zipped.decompress(data[len(_NO_EXPIRY) :], MAX_BYTES)
        text = pickled[_TEXT_STARTS_AT:_TEXT_ENDS_AT].decode()
    except (zlib.error, UnicodeDecodeError):
        return None
    is_whole = zipped.eof and pickle.dumps(text, FileBasedCache.pickle_protocol) == pickled
    return text if is_whole else None
