"""A picture is checked before it is decoded, and goes out without what nobody asked for."""

from __future__ import annotations

import base64
import contextlib
import io
import struct
import zlib

import pytest
from django.test import SimpleTestCase
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.people.picture_decoder import MAX_SIDE
from pipeline.people.pictures import MAX_BYTES, PictureRefused, prepared


def encoded(format_name: str, size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, format_name, **options)
    return file.getvalue()


def opened(image_b64: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image_b64)))


def png_that_promises(width: int, height: int) -> bytes:
    """Return a valid PNG header of a picture whose pixels never come."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk


class PreparedTests(SimpleTestCase):
    def test_every_kind_becomes_a_jpeg(self):
        for format_name in ("JPEG", "PNG", "WEBP", "GIF"):
            with self.subTest(format=format_name):
                picture = opened(prepared(encoded(format_name)))

                assert (picture.format, picture.size) == ("JPEG", (40, 30))

    def test_where_and_with_what_it_was_taken_stays_here(self):
        exif = Image.Exif()
        exif[0x010F] = "SecretCamera"
        exif[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0)}

        sent = prepared(encoded("JPEG", exif=exif))

        assert b"SecretCamera" not in base64.b64decode(sent)
        assert dict(opened(sent).getexif()) == {}

    def test_a_photo_taken_upright_stays_upright(self):
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by 90 degrees

        assert opened(prepared(encoded("JPEG", (40, 30), exif=exif))).size == (30, 40)

    def test_a_large_picture_is_made_smaller(self):
        assert max(opened(prepared(encoded("PNG", (5000, 100)))).size) == MAX_SIDE

    def test_too_many_bytes_are_refused(self):
        with pytest.raises(PictureRefused, match="10 MB"):
            prepared(b"\xff\xd8\xff" + bytes(MAX_BYTES))

    def test_a_header_that_promises_too_many_pixels_is_refused_before_decoding(self):
        for size in ((10_000, 10_000), (100_000, 100_000), (2**31 - 1, 2**31 - 1)):
            with self.subTest(size=size), pytest.raises(PictureRefused):
                prepared(png_that_promises(*size))

    def test_what_is_no_picture_or_only_half_of_one_is_refused(self):
        cases = {
            "nothing": b"",
            "a script": b"<script>alert(1)</script>",
            "another kind": encoded("BMP"),
            "cut off": encoded("JPEG", (400, 300))[:400],
            "a header alone": png_that_promises(40, 30),
        }
        for name, content in cases.items():
            with self.subTest(name), pytest.raises(PictureRefused, match="can't read"):
                prepared(content)

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=60), st.integers(0, 400), st.sampled_from(["JPEG", "PNG", "GIF"]))
    def test_damaged_bytes_are_a_picture_or_refused_and_nothing_else(self, noise, at, format_name):
        whole = encoded(format_name)
        damaged = whole[:at] + noise + whole[at + len(noise) :]
        with contextlib.suppress(PictureRefused):
            assert opened(prepared(damaged)).format == "JPEG"
