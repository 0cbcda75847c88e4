"""Real processes that are killed, cut off and starved, and one comparison of what is left."""

from __future__ import annotations
