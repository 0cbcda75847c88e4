"""OpenRouter's catalogue: taken in once a day, and what it says of models, prices and aliases.

`sync` brings the table up to date, `refresh` one row of it; everything else reads it. On the way
of a call it is read for the model's limits and price, once in some minutes
(`pipeline.running.model_book`); and asked anew only when nothing is served at the price that is
known, or another model seems to have answered.
"""

from __future__ import annotations

from agents.catalog.aliases import is_served
from agents.catalog.feed import CatalogNotSynced, refresh, sync, sync_and_wait
from agents.catalog.fit import cannot, lacks
from agents.catalog.lookup import find, find_all, search
from agents.catalog.prices import estimated_cost_usd, max_price, per_million, price_lines
from agents.catalog.store import SyncReport

__all__ = [
    "CatalogNotSynced",
    "SyncReport",
    "cannot",
    "estimated_cost_usd",
    "find",
    "find_all",
    "is_served",
    "lacks",
    "max_price",
    "per_million",
    "price_lines",
    "refresh",
    "search",
    "sync",
    "sync_and_wait",
]
