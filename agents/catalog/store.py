"""Store a model list in the catalog's table, in one transaction.

A model that is no longer listed keeps its row, because overrides and records still refer to it. A
list that lacks most of the known models is taken for an error at OpenRouter and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta

from django.db import connection, transaction

from agents.catalog.entries import EndpointFacts, Entry, Listing, NotACatalogue
from agents.models import CatalogModel

EXPIRING_DAYS = 30
ROWS_AT_ONCE = 200  # SQLite takes 32,766 parameters in one statement
_LISTED = [field.name for field in fields(Entry) if field.name != "model_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """The changes that a sync made to the catalog; the tuples hold model ids."""

    listed: int
    new: tuple[str, ...]
    returned: tuple[str, ...]
    vanished: tuple[str, ...]
    expiring: tuple[str, ...]  # within `EXPIRING_DAYS` days
    skipped: int  # entries that could not be read
    is_whole: bool  # False: the list was incomplete, so no model was marked as vanished


@transaction.atomic
def store(
    listing: Listing,
    facts: Mapping[str, EndpointFacts],
    *,
    now: datetime,
    accept_fewer: bool = False,
) -> SyncReport:
    """Store a model list and endpoint facts, and mark models missing from it as vanished.

    Raises:
        NotACatalogue: the list has less than half of the models known so far, and `accept_fewer`
            is not set.
    """
    _line_up()
    known = dict(CatalogModel.objects.values_list("pk", "vanished_at"))
    offered = {model_id for model_id, vanished_at in known.items() if vanished_at is None}
    if len(listing.entries) * 2 < len(offered) and not accept_fewer:
        raise NotACatalogue(
            f"models in it: {len(listing.entries):,}, known so far: {len(offered):,}"
        )
    vanished = offered - listing.entries.keys() - listing.unreadable_ids
    if not listing.is_whole:
        vanished = set()
    _write(listing.entries.values(), now)
    for some in _batches(sorted(vanished)):
        CatalogModel.objects.filter(pk__in=some).update(vanished_at=now)
    for model_id, seen in facts.items():
        CatalogModel.objects.filter(pk=model_id).update(endpoints_seen_at=now, **asdict(seen))
    return SyncReport(
        listed=len(listing.entries),
        new=tuple(sorted(listing.entries.keys() - known.keys())),
        returned=tuple(sorted(listing.entries.keys() & known.keys() - offered)),
        vanished=tuple(sorted(vanished)),
        expiring=tuple(_expiring(listing.entries.values(), now)),
        skipped=listing.skipped,
        is_whole=listing.is_whole,
    )


def reprice(model_id: str, entry: Entry) -> None:
    """Update one model's prices, output limit and parameters; the next sync updates the rest."""
    CatalogModel.objects.filter(pk=model_id).update(
        prompt_usd=entry.prompt_usd,
        completion_usd=entry.completion_usd,
        request_usd=entry.request_usd,
        price_overrides=entry.price_overrides,
        max_completion_tokens=entry.max_completion_tokens,
        supported_parameters=entry.supported_parameters,
    )


def _line_up() -> None:
    """Make a concurrent sync wait until this transaction ends.

    The whole table is locked, because a model that is new to both syncs has no row to lock. SQLite
    needs no lock: it allows one writer at a time.
    """
    if connection.vendor == "postgresql":
        table = connection.ops.quote_name(CatalogModel._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")


def _write(entries: Iterable[Entry], now: datetime) -> None:
    rows = [
        CatalogModel(**entry.as_fields(), first_seen_at=now, last_seen_at=now) for entry in entries
    ]
    CatalogModel.objects.bulk_create(
        sorted(rows, key=lambda row: row.model_id),
        batch_size=ROWS_AT_ONCE,
        update_conflicts=True,
        unique_fields=["model_id"],
        update_fields=[*_LISTED, "last_seen_at", "vanished_at"],
    )


def _expiring(entries: Iterable[Entry], now: datetime) -> Iterator[str]:
    latest = now.date() + timedelta(days=EXPIRING_DAYS)
    for entry in sorted(entries, key=lambda entry: entry.model_id):
        if entry.expires_on is not None and entry.expires_on <= latest:
            yield entry.model_id


def _batches(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), ROWS_AT_ONCE):
        yield ids[start : start + ROWS_AT_ONCE]
