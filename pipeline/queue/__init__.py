"""What is to be done, and by whom: one protocol, backends that keep it."""

from __future__ import annotations
