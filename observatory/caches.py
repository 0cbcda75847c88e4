"""A file cache for the overrides' revision tokens that does not trust the stored values.

Other programs may be able to write to the cache. A value of theirs must not run as code, as a
pickle would, nor cost more to read than a token. So at most `MAX_BYTES` of a value are read, and
anything but a short text reads as absent. The stored format is that of Django's own caches, because
earlier releases read and write the same keys.
"""

from __future__ import annotations

import pickle
import zlib
from pathlib import Path
from typing import Any

from django.core.cache.backends.filebased import FileBasedCache

MAX_BYTES = 256  # of a stored value; a token has 32 characters

# FileBasedCache writes the pickled expiry, here always None, then the pickled value, compressed.
_NO_EXPIRY = pickle.dumps(None, FileBasedCache.pickle_protocol)
# Where the text starts and ends within the pickle of a text of at most 255 bytes.
_TEXT_STARTS_AT, _TEXT_ENDS_AT = 13, -2


class TextFileCache(FileBasedCache):
    """Django's file cache for short texts that never expire; it unpickles nothing."""

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return the text, or `default` if there is none."""
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
    """Return the text if `data` is exactly what Django would write for it, else None."""
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
