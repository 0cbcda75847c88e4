"""The overrides' revision tokens in Django's file cache, read without trusting what is stored.

Others may be able to write to a cache. What they wrote must not run as code, as a pickle does, nor
cost more than a token does. So a value is read only as far as a token can reach, and what is no
short text reads as absent. Stored values look as in Django's own caches: releases before this one
read and write the same keys.
"""

from __future__ import annotations

import pickle
import zlib
from pathlib import Path
from typing import Any

from django.core.cache.backends.filebased import FileBasedCache

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
