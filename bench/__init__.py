"""Measurements that one can repeat: `make bench`."""

from __future__ import annotations
