"""Detect the type of a picture from its bytes, never from what the sender claims."""

from __future__ import annotations

import base64
import binascii

from agents.llm.errors import PictureInvalid

_HEAD_CHARS = 24  # 18 bytes: the longest of the signatures needs 12


def media_type(image_b64: str) -> str:
    """Return the MIME type of a base64-encoded picture.

    Raises:
        PictureInvalid: the picture is no JPEG, PNG, WebP or GIF.
    """
    try:
        head = base64.b64decode(image_b64[:_HEAD_CHARS], validate=True)
    except (binascii.Error, ValueError):
        head = b""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    raise PictureInvalid("the picture is no JPEG, PNG, WebP or GIF")
