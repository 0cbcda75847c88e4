"""Signs webhooks with symmetric keys, as the Standard Webhooks specification defines.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Iterable
from datetime import datetime


def signed_headers(
    message_id: str, body: bytes, *, keys: Iterable[bytes], at: datetime
) -> dict[str, str]:
    """Return the headers that identify and sign a message.

    Args:
        message_id: The same at each attempt, without a full stop.
        body: The exact bytes that are sent.
        keys: The decoded secrets. Each one signs, so that receivers can check with the old or the
            new one while a secret is being replaced.
        at: When this attempt is made; receivers refuse what is older than a few minutes.
    """
    timestamp = str(int(at.timestamp()))
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = [b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
