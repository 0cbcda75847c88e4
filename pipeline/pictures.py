"""A picture on its way in: checked before it is decoded, and sent on without what nobody asked for.

What arrives is a stranger's bytes. The type is read from them, the size in pixels from the header,
and only then is it decoded; what goes to a model is a new JPEG, without location or camera data.
"""

from __future__ import annotations

import base64
import io
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

MAX_BYTES = 10_000_000  # Telegram's own limit for a photo
MAX_PIXELS = 50_000_000  # more than any phone's screenshot; a header can promise billions
MAX_SIDE = 2048  # what vision models look at; more costs tokens and shows nothing
TOO_LARGE = "This picture is larger than 10 MB. Please send a smaller one."
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
JPEG_QUALITY = 88


class PictureRefused(Exception):
    """A picture that is not looked at; the message is for the member."""


def prepared(content: bytes) -> str:
    """Return the picture as a JPEG in base64, at most 2,048 pixels a side.

    Takes CPU for tenths of a second, so not for an event loop's thread.

    Raises:
        PictureRefused: too many bytes or pixels, or no picture that can be read.
    """
    if len(content) > MAX_BYTES:
        raise PictureRefused(TOO_LARGE)
    try:
        # Pillow warns at half of the size that it refuses; ours is the limit that counts.
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            picture = Image.open(io.BytesIO(content), formats=FORMATS)
        if picture.width * picture.height > MAX_PIXELS:
            raise PictureRefused("This picture has too many pixels. Please send a smaller one.")
        picture.draft("RGB", (MAX_SIDE, MAX_SIDE))  # a large JPEG is decoded smaller at once
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        raise PictureRefused(
            "I cannot read this picture. Please send a JPEG, PNG, WebP or GIF."
        ) from None
    upright.thumbnail((MAX_SIDE, MAX_SIDE))
    jpeg = io.BytesIO()
    upright.save(jpeg, "JPEG", quality=JPEG_QUALITY)
    return base64.b64encode(jpeg.getvalue()).decode()
