"""The task queue: one protocol, and the backends that implement it."""

from __future__ import annotations
