"""What a person sees, in a real browser, over the product as `make run` starts it."""

from __future__ import annotations
