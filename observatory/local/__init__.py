"""One machine, one command: `make run`; `__main__.py` is the way in."""

from __future__ import annotations
