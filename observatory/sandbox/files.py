"""Pictures and documents that went through the sandbox's chats, held in memory."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from observatory.sandbox.journal import Journal
from observatory.sandbox.web import Json

KEPT_BYTES = 256 * 1024 * 1024
JOURNALED_BYTES = 10 * 1024 * 1024
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file; `path` is what the Bot API's download address ends with."""

    file_id: str
    path: str
    name: str
    mime_type: str
    data: bytes

    @property
    def unique_id(self) -> str:
        """The id that stays the same for equal contents."""
        return hashlib.sha256(self.data).hexdigest()[:16]

    def as_record(self) -> Json:
        """Return the line of the journal."""
        return {
            "kind": "file",
            "file_id": self.file_id,
            "path": self.path,
            "name": self.name,
            "mime_type": self.mime_type,
            "base64": base64.b64encode(self.data).decode(),
        }


class Files:
    """All files by id; the oldest go when memory is short."""

    def __init__(self, *, journal: Journal) -> None:
        self._journal = journal
        self._by_id: OrderedDict[str, StoredFile] = OrderedDict()
        self._bytes = 0
        self._last = 0

    def add(self, *, data: bytes, name: str, mime_type: str, folder: str) -> StoredFile:
        """Keep a file and return it with its id."""
        suffix = mimetypes.guess_extension(mime_type) or ".bin"
        self._last += 1
        digest = hashlib.sha256(data).hexdigest()[:20]
        file = StoredFile(
            file_id=f"SANDBOX{self._last:06d}{digest}",
            path=f"{folder}/file_{self._last}{suffix}",
            name=name,
            mime_type=mime_type,
            data=data,
        )
        self._keep(file)
        if len(data) <= JOURNALED_BYTES:
            self._journal.write(file.as_record())
        return file

    def restore(self, record: Json) -> None:
        """Take back a file from the journal; numbers go on from its own."""
        self._last = max(self._last, int(record["file_id"][7:13]))
        self._keep(
            StoredFile(
                file_id=record["file_id"],
                path=record["path"],
                name=record["name"],
                mime_type=record["mime_type"],
                data=base64.b64decode(record["base64"]),
            )
        )

    def records(self, used: frozenset[str]) -> Iterator[Json]:
        """Yield what a compact journal must hold: the files that a message still shows."""
        for file in self._by_id.values():
            if file.file_id in used and len(file.data) <= JOURNALED_BYTES:
                yield file.as_record()

    def get(self, file_id: str) -> StoredFile | None:
        """Return the file with this id."""
        return self._by_id.get(file_id)

    def at(self, path: str) -> StoredFile | None:
        """Return the file with this download path."""
        return next((file for file in self._by_id.values() if file.path == path), None)

    def _keep(self, file: StoredFile) -> None:
        self._by_id[file.file_id] = file
        self._bytes += len(file.data)
        while self._bytes > KEPT_BYTES and len(self._by_id) > 1:
            _, oldest = self._by_id.popitem(last=False)
            self._bytes -= len(oldest.data)


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG, JPEG or WebP, or None for anything else."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return int(width), int(height)
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp_size(data)
    return None


def picture_type(data: bytes) -> str:
    """Return the media type that a picture's first bytes give away."""
    if data[:2] == b"\xff\xd8":
        return "image/jpeg"
    return "image/png" if data[:4] == b"\x89PNG" else "image/webp"


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    position = 2
    while position + 9 < len(data) and data[position] == 0xFF:
        marker, length = (
            data[position + 1],
            int.from_bytes(data[position + 2 : position + 4], "big"),
        )
        if marker in JPEG_FRAMES:
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return int(width), int(height)
        position += 2 + length
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    match data[12:16]:
        case b"VP8X":
            width, height = data[24:27], data[27:30]
            return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = struct.unpack("<HH", data[26:30])
            return int(width) & 0x3FFF, int(height) & 0x3FFF
    return None
