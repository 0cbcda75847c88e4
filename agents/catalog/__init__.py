"""OpenRouter's model catalog: a daily sync, and look-ups of models, prices and aliases.

`sync` updates the whole table and `refresh` a single row; everything else only reads the table.
During calls, a model's limits and price are read from the table every few minutes
(`pipeline.running.model_book`). OpenRouter is asked again only if no provider serves the model at
the known price, or if another model seems to have answered.
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
