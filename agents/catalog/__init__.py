"""OpenRouter's catalogue: taken in once a day, and what it says of models, prices and aliases.

`sync` brings the table up to date; everything else reads it. Nothing here is asked on the way of a
call but `is_served`, and that only when a call was answered under another name than it asked for.
"""

from __future__ import annotations

from agents.catalog.aliases import is_served
from agents.catalog.feed import CatalogNotSynced, sync, sync_and_wait
from agents.catalog.fit import lacks
from agents.catalog.lookup import find, find_all, search
from agents.catalog.prices import estimated_cost_usd, per_million, price_lines
from agents.catalog.store import SyncReport

__all__ = [
    "CatalogNotSynced",
    "SyncReport",
    "estimated_cost_usd",
    "find",
    "find_all",
    "is_served",
    "lacks",
    "per_million",
    "price_lines",
    "search",
    "sync",
    "sync_and_wait",
]
