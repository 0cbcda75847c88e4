"""The error that stops `make run` before any program has been started."""

from __future__ import annotations


class CannotStart(Exception):
    """`make run` cannot start; the message says why and what to do."""
