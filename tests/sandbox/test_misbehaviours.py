"""Each misbehaving model goes wrong in its own way, and only in that way."""

from __future__ import annotations

from tests.sandbox.calling import json_schema

SCHEMA = json_schema({"type": "object", "properties": {"analysis": {"type": "string"}}})
