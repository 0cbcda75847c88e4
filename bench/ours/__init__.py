"""Our side of each contest: programs as those of `bench.peers`, with Django set up."""

from __future__ import annotations
