"""What stops `make run` before anything has been started."""

from __future__ import annotations


class CannotStart(Exception):
    """The message says why and what to do."""
