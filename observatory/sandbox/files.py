"""Pictures and documents that went through the sandbox's chats, held in memory."""

from __future__ import annotations

import hashlib
import mimetypes
from base64 import b64decode, b64encode
from collections import OrderedDict
from dataclasses import dataclass

from observatory.sandbox.journal import Journal
from observatory.sandbox.web import Json

KEPT_BYTES = 256 * 1024 * 1024
JOURNALED_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file; `path` is the end of its Bot API download URL."""

    file_id: str
    path: str
    name: str
    mime_type: str
    data: bytes

    def as_file(self) -> Json:
        """Return what Telegram says of every file; equal contents have equal unique ids."""
        return {
            "file_id": self.file_id,
            "file_unique_id": hashlib.sha256(self.data).hexdigest()[:16],
            "file_size": len(self.data),
        }


class Files:
    """All files by id; beyond `KEPT_BYTES`, the oldest are dropped."""

    def __init__(self, *, journal: Journal) -> None:
        self._journal = journal
        self._by_id: OrderedDict[str, StoredFile] = OrderedDict()
        self._bytes = 0
        self._last = 0

    def add(self, *, data: bytes, name: str, mime_type: str, folder: str) -> StoredFile:
        """Store a file and return it with its new id."""
        number, digest = self._last + 1, hashlib.sha256(data).hexdigest()[:20]
        suffix = mimetypes.guess_extension(mime_type) or ".bin"
        about = {
            "file_id": f"SANDBOX{number:06d}{digest}",
            "path": f"{folder}/file_{number}{suffix}",
            "name": name,
            "mime_type": mime_type,
        }
        if len(data) <= JOURNALED_BYTES:
            self._journal.write({"kind": "file", **about, "base64": b64encode(data).decode()})
        return self._keep(StoredFile(data=data, **about))

    def restore(self, *, base64: str, **about: str) -> None:
        """Restore a file from its journal record; numbering continues after it."""
        self._keep(StoredFile(data=b64decode(base64), **about))

    def get(self, file_id: str) -> StoredFile | None:
        """Return the file with this id, or None."""
        return self._by_id.get(file_id)

    def at(self, path: str) -> StoredFile | None:
        """Return the file with this download path, or None."""
        return next((file for file in self._by_id.values() if file.path == path), None)

    def _keep(self, file: StoredFile) -> StoredFile:
        self._last = max(self._last, int(file.file_id[7:13]))
        self._by_id[file.file_id] = file
        self._bytes += len(file.data)
        while self._bytes > KEPT_BYTES and len(self._by_id) > 1:
            _, oldest = self._by_id.popitem(last=False)
            self._bytes -= len(oldest.data)
        return file
