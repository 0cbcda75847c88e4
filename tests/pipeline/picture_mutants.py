"""Pictures that go wrong: all kinds with a few bytes bent, and small ones that swell."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator

from PIL import Image, ImageDraw, PngImagePlugin

PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _drawing(mode: str, size: tuple[int, int] = (48, 36)) -> Image.Image:
    picture = Image.new("RGB", size, "teal")
    ImageDraw.Draw(picture).line((0, 0, *size), fill="white", width=3)
    return picture.convert(mode)


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def seeds() -> list[bytes]:
    """Return small sound pictures of every kind that is read, with all that may hang on them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Camera"
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0)}
    told = PngImagePlugin.PngInfo()
    told.add_text("Comment", "Words " * 20, zip=True)
    told.add_itxt("Title", "Words", "en", "Words", zip=True)
    frames = [_drawing("RGB", (24, 18)), _drawing("L", (24, 18)).convert("RGB")]
    several = {"save_all": True, "append_images": frames, "duration": 40}
    icc = b"\0" * 200
    return [
        _saved(_drawing("RGB"), "JPEG", exif=exif, icc_profile=icc, comment=b"Words"),
        _saved(_drawing("RGB"), "JPEG", progressive=True, exif=exif),
        _saved(_drawing("CMYK"), "JPEG"),
        _saved(_drawing("L"), "JPEG", quality=20),
        _saved(_drawing("RGB"), "MPO", save_all=True, append_images=frames),
        _saved(_drawing("RGB"), "PNG", pnginfo=told, icc_profile=icc, exif=exif),
        _saved(_drawing("RGBA"), "PNG"),
        _saved(_drawing("P"), "PNG", transparency=0),
        _saved(_drawing("1"), "PNG"),
        _saved(_drawing("L").convert("I;16"), "PNG"),
        _saved(frames[0], "PNG", **several),
        _saved(_drawing("RGB"), "WEBP", exif=exif, icc_profile=icc),
        _saved(_drawing("RGBA"), "WEBP", lossless=True),
        _saved(frames[0], "WEBP", **several),
        _saved(_drawing("P"), "GIF", comment=b"Words"),
        _saved(frames[0], "GIF", **several),
    ]


def mutants(count: int, seed: int, *, kept_head: int = 0) -> Iterator[bytes]:
    """Yield so many bent pictures; the first `kept_head` bytes of each stay as they are."""
    chance, sound = random.Random(seed), seeds()
    for _ in range(count):
        content = bytearray(chance.choice(sound))
        head = bytes(content[:kept_head])
        for _ in range(chance.choice((1, 1, 2, 4, 16))):
            _bend(content, chance)
        if content[:8] == PNG_HEAD and chance.random() < 0.7:
            content = bytearray(_with_sums_mended(bytes(content)))
        yield head + bytes(content[kept_head:])


def _bend(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content) + 1)
    # Most of what can go wrong is told in the beginning.
    at = at if chance.random() < 0.5 else min(at, chance.randrange(1, 200))
    way = chance.randrange(6)
    if way == 0:
        content[at : at + 1] = bytes([chance.randrange(256)])
    elif way == 1:
        content[at : at + 4] = struct.pack(">I", chance.choice((0, 1, 0x7FFFFFFF, 2**32 - 1, 4096)))
    elif way == 2:
        content[at : at + chance.randrange(1, 40)] = b""
    elif way == 3:
        content[at:at] = content[at : at + chance.randrange(1, 60)]
    elif way == 4:
        content[at:at] = chance.randbytes(chance.randrange(1, 30))
    elif len(content) > 40:
        del content[max(at, 30) :]
    if not content:
        content.extend(b"\xff")


def _with_sums_mended(png: bytes) -> bytes:
    """Return the PNG with right checksums, so that what is bent in a chunk is looked at."""
    made, at = bytearray(PNG_HEAD), 8
    while at + 12 <= len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if at + 12 + length > len(png):
            break
        made += chunk(png[at + 4 : at + 8], png[at + 8 : at + 8 + length])
        at += 12 + length
    return bytes(made) + png[at:]


# --- small ones that swell ------------------------------------------------------------------------


def zeros(count: int) -> bytes:
    """Return so many zero bytes compressed, without ever holding them."""
    press, part = zlib.compressobj(1), bytes(1 << 20)
    made = [press.compress(part) for _ in range(count >> 20)]
    return b"".join([*made, press.compress(bytes(count & (1 << 20) - 1)), press.flush()])


def png(width: int, height: int, colour: int = 6, *before: bytes) -> bytes:
    """Return a PNG of zeros (4 bytes a pixel for colour 6), with chunks before its pixels."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    pixels = zeros(height * (1 + width * channels))
    return b"".join(
        [PNG_HEAD, chunk(b"IHDR", header), *before, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    )


def webp_with_canvas(width: int, height: int) -> bytes:
    """Return an animated WebP of some hundred bytes whose canvas has that size."""
    frames = [_drawing("RGB", (16, 16)), _drawing("L", (16, 16)).convert("RGB")]
    content = bytearray(_saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    assert content[12:16] == b"VP8X"
    content[24:27] = (width - 1).to_bytes(3, "little")
    content[27:30] = (height - 1).to_bytes(3, "little")
    return bytes(content)


def bombs() -> dict[str, bytes]:
    """Return six pictures that would take gigabytes all at once.

    One WebP and one PNG among them are at the edge of what is read.
    """
    text = chunk(b"zTXt", b"Comment\0\0" + zeros(30 << 20))
    profile = chunk(b"iCCP", b"icc\0\0" + zeros(200 << 20))
    return {
        "a WebP with a canvas of 268 megapixels": webp_with_canvas(16_384, 16_384),
        "a WebP with as large a canvas as is read": webp_with_canvas(4000, 3000),
        "a PNG of 49 megapixels": png(7000, 7000, 0),
        "a PNG of as many pixels as are read": png(4000, 3000),
        "a PNG with sixty texts that swell": png(40, 30, 2, *[text] * 60),
        "a PNG with a profile that swells": png(40, 30, 2, profile),
    }
