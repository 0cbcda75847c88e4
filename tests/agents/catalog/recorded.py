"""OpenRouter's list of models on two days; `tests/data/openrouter` tells where it comes from."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from agents.catalog.entries import Listing

DATA = Path(__file__).resolve().parents[2] / "data" / "openrouter"
DAYS = ("2026-07-08", "2026-08-22")
# By their descriptions, which are not in the files.
ROUTERS = {
    "2026-07-08": {
        *("openrouter/auto", "openrouter/bodybuilder", "openrouter/free", "openrouter/fusion"),
        *("openrouter/pareto-code", "switchpoint/router"),
    },
    "2026-08-22": {
        *("openrouter/auto", "openrouter/auto-beta", "openrouter/bodybuilder", "openrouter/free"),
        *("openrouter/fusion", "openrouter/pareto-code"),
    },
}


@cache
def payload_of(day: str) -> Any:
    return json.loads((DATA / f"models-{day}.json").read_bytes())


@cache
def listing_of(day: str) -> Listing:
    return Listing.from_payload(payload_of(day))
