"""The serializer of values in Redis: JSON, because unpickling a value can run code."""

from __future__ import annotations

import json
from typing import Any


class JsonSerializer:
    """Serializer for Django's Redis backend; a value that is not JSON reads as None (absent)."""

    def dumps(self, obj: Any) -> bytes:
        return json.dumps(obj).encode()

    def loads(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):  # RecursionError: 100,000 nested brackets
            return None
