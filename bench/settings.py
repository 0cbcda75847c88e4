"""The settings of our side of a contest: those of the suite, but for the log and the stand-in."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import LOGGING

LOGGING["root"]["level"] = "WARNING"
OPENROUTER_BASE_URL = os.environ.get("BENCH_STAND_IN", "http://127.0.0.1:9")
OPENROUTER_API_KEY = "sk-or-v1-bench-0123456789abcdef"
