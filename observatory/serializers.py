"""How values lie in Redis: as JSON, never pickled."""

from __future__ import annotations

import json
from typing import Any


class JsonSerializer:
    """Django's Redis backend calls these two; what is no JSON reads as absent."""

    def dumps(self, obj: Any) -> bytes:
        return json.dumps(obj).encode()

    def loads(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):  # the latter: brackets 100,000 deep
            return None
