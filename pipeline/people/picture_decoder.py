"""Program of the child process that decodes pictures; imports neither Django nor project code.

`pipeline/people/pictures.py` runs it by its path and talks to it through pipes. A request is the
picture's length in four bytes, then its content. The answer is one letter, a length and a JPEG, or
only a letter that says why not. The child ends when its input ends, so it never outlives the bot.

Untrusted bytes may crash a decoder or make it allocate gigabytes. So the child limits its own
memory, and its CPU seconds for each picture; the kernel enforces both limits.
"""

from __future__ import annotations

import contextlib
import io
import math
import resource
import signal
import struct
import sys
import time
import warnings
from typing import BinaryIO

from PIL import GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

PLUGINS = (GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin)  # import registers
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MAX_PIXELS = 12_000_000  # to decode; for a JPEG, after the decoder has scaled it down
MAX_SIDE = 2048  # pixels that vision models use; more costs tokens and shows nothing
JPEG_QUALITY = 88
MEMORY_BYTES = 336 * 1024**2  # of address space; a 12-megapixel WebP takes 290 MB in all
CPU_S = 5  # for one picture; 12 megapixels take about 1 s

PICTURE, UNREADABLE, TOO_LARGE = b"P", b"U", b"L"  # the first byte of an answer
LENGTH = struct.Struct(">I")

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_JPEG_SCALES = (8, 4, 2, 1)  # divisors by which libjpeg can scale down while it decodes


class TooLarge(Exception):
    """The picture has more pixels than MAX_PIXELS."""


def decoded(content: bytes) -> bytes:
    """Return the picture as an upright JPEG that contains only pixels, without metadata.

    An animation is reduced to its first frame.

    Raises:
        TooLarge: the picture has more than MAX_PIXELS.
        Exception: whatever Pillow raises on bytes that are not a picture, or MemoryError.
    """
    _check_webp(content)
    # Pillow warns at half of the size that it refuses, but `_check` is the limit that counts.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        _draft(picture)
        _check(picture.size)
        orientation = _orientation(picture)
        picture.load()
    small = _small(picture)
    turn = _TURNS.get(orientation)
    upright = small.transpose(turn) if turn is not None else small
    upright.info = {}  # Pillow would write a comment found here into the JPEG
    jpeg = io.BytesIO()
    upright.save(jpeg, "JPEG", quality=JPEG_QUALITY)
    return jpeg.getvalue()


def _check(size: tuple[int, int]) -> None:
    if math.prod(size) > MAX_PIXELS:
        raise TooLarge


def _draft(picture: Image.Image) -> None:
    """Have the decoder scale a JPEG down, but keep its longer side at 2,048 pixels or more.

    A JPEG that would then still have too many pixels is scaled down further.
    """
    if not isinstance(picture, JpegImagePlugin.JpegImageFile):
        return
    width, height = picture.size
    for scale in _JPEG_SCALES:
        is_kept = max(width, height) >= MAX_SIDE * scale
        larger = (math.ceil(width * 2 / scale), math.ceil(height * 2 / scale))
        if is_kept or math.prod(larger) > MAX_PIXELS:
            picture.draft(None, (max(1, width // scale), max(1, height // scale)))
            return


def _check_webp(content: bytes) -> None:
    """Raise TooLarge if a WebP's header names too many pixels; other formats pass.

    Checked before Pillow opens the file, because Pillow then allocates three canvases.
    Source: RFC 9649, sections 2.5 to 2.7.
    """
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP":
        return
    kind, body = content[12:16], content[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        sides = [1 + int.from_bytes(body[at : at + 3], "little") for at in (4, 7)]
    elif kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        sides = [1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)]
    else:
        sides = [int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8)]
    _check((sides[0], sides[1]))


def _orientation(picture: Image.Image) -> int:
    """Return the Exif orientation, 1 to 8; 1 (upright) if there is none or it is malformed."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - struct.error and others; the pixels may be fine
        return 1


def _small(picture: Image.Image) -> Image.Image:
    """Return the picture in RGB, at most 2,048 pixels a side, with transparency filled white."""
    is_clear = picture.has_transparency_data
    # Only one conversion before the picture is small: each copy of 12 megapixels takes 48 MB.
    small = picture.convert("RGBA" if is_clear else "RGB")
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    if not is_clear:
        return small
    white = Image.new("RGBA", small.size, "white")
    white.alpha_composite(small)
    return white.convert("RGB")


# --- the child ----------------------------------------------------------------------------------


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Decode pictures from `source` and write the answers to `target` until the input ends."""
    while len(head := source.read(LENGTH.size)) == LENGTH.size:
        content = source.read(LENGTH.unpack(head)[0])
        _bound_cpu()
        target.write(_answer(content))
        target.flush()


def _answer(content: bytes) -> bytes:
    try:
        jpeg = decoded(content)
    except (TooLarge, MemoryError, Image.DecompressionBombError):
        return TOO_LARGE
    except Exception:  # noqa: BLE001 - decoders raise arbitrary errors on malformed bytes
        return UNREADABLE
    return PICTURE + LENGTH.pack(len(jpeg)) + jpeg


def _bound_cpu() -> None:
    """Give the next picture CPU_S seconds; the kernel's limit counts the process's total."""
    until = math.ceil(time.process_time()) + CPU_S
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (until, hard))


def _bound() -> None:
    """Limit memory, forbid files and core dumps, and ignore signals that are meant for the bot."""
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # macOS has no limit of address space
            resource.setrlimit(kind, (most, most))
    # A terminal and systemd signal the whole process group, while the bot still finishes its work.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    _bound()
    serve(sys.stdin.buffer, sys.stdout.buffer)
