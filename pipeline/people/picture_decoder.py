"""The program of the child that decodes pictures: nothing of ours is imported here, and no Django.

It is run by its path (`pipeline/people/pictures.py`) and speaks by pipe: a picture comes as its
length in four bytes and its content, and is answered with one letter, a length and a JPEG, or with
a letter alone that says why not. It ends when its input does, so it never outlives the bot.

A stranger's bytes may crash a decoder or have it ask for gigabytes. So the child bounds its own
memory and its seconds of CPU for each picture; the kernel enforces both.
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

PLUGINS = (GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin)  # imported = known
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MAX_PIXELS = 12_000_000  # that are decoded; of a JPEG after it was made smaller while reading
MAX_SIDE = 2048  # what vision models look at; more costs tokens and shows nothing
JPEG_QUALITY = 88
MEMORY_BYTES = 336 * 1024**2  # of address space; a WebP of 12 megapixels takes 290 MB in all
CPU_S = 5  # for one picture; 12 megapixels take about one

PICTURE, UNREADABLE, TOO_LARGE = b"P", b"U", b"L"  # the letters of an answer
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
_JPEG_SCALES = (8, 4, 2, 1)  # what libjpeg can divide by while it decodes


class TooLarge(Exception):
    """The picture has more pixels than are decoded."""


def decoded(content: bytes) -> bytes:
    """Return the picture as a JPEG that holds its pixels and nothing else, turned upright.

    Of an animation it is the first frame.

    Raises:
        TooLarge: more pixels than are decoded, or than the memory holds.
        Exception: whatever Pillow raises at bytes that are no picture.
    """
    _check_webp(content)
    # Pillow warns at half of the size that it refuses; ours is the limit that counts.
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
    upright.info = {}  # a comment would be written along
    jpeg = io.BytesIO()
    upright.save(jpeg, "JPEG", quality=JPEG_QUALITY)
    return jpeg.getvalue()


def _check(size: tuple[int, int]) -> None:
    if math.prod(size) > MAX_PIXELS:
        raise TooLarge


def _draft(picture: Image.Image) -> None:
    """Have a JPEG made smaller while it is decoded, as far as none of what we keep is lost.

    One that would still have too many pixels is made smaller than that.
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
    """Look at a WebP's size before Pillow, which allocates three canvases when it opens one.

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
    """Return how the camera was held; 1, upright, where the Exif block is bent."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - struct.error and others; the pixels may be sound
        return 1


def _small(picture: Image.Image) -> Image.Image:
    """Return the picture in RGB, at most 2,048 pixels a side, on white where it is transparent."""
    is_clear = picture.has_transparency_data
    # In between by one mode only: each copy of 12 megapixels is 48 MB.
    small = picture.convert("RGBA" if is_clear else "RGB")
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    if not is_clear:
        return small
    white = Image.new("RGBA", small.size, "white")
    white.alpha_composite(small)
    return white.convert("RGB")


# --- the child ----------------------------------------------------------------------------------


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Answer pictures until the input ends."""
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
    except Exception:  # noqa: BLE001 - decoders raise whatever they like at bent bytes
        return UNREADABLE
    return PICTURE + LENGTH.pack(len(jpeg)) + jpeg


def _bound_cpu() -> None:
    """Let this picture have its seconds; the kernel counts those of the process."""
    until = math.ceil(time.process_time()) + CPU_S
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (until, hard))


def _bound() -> None:
    """Bound memory, and leave no file, no core dump and no end by a signal meant for the bot."""
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # macOS knows no limit of address space
            resource.setrlimit(kind, (most, most))
    # A terminal and systemd signal the whole group, and the bot still answers then.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    _bound()
    serve(sys.stdin.buffer, sys.stdout.buffer)
