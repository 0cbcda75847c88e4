"""`make run`: Observatory on one machine with one command; the entry point is `__main__.py`."""

from __future__ import annotations
