"""Tests of the project: settings, checks, start."""

from __future__ import annotations
