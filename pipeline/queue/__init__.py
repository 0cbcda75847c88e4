"""What is to be done, and by whom: one protocol, engines that keep it."""

from __future__ import annotations
