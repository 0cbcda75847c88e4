"""Fetch OpenRouter's model list, and the endpoints of models in use, into the catalog's table.

Both are public, so no key is sent. If anything fails, the catalog stays unchanged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import quote

from asgiref.sync import async_to_sync, sync_to_async
from django.utils import timezone

from agents.catalog.entries import EndpointFacts, Entry, Listing, NotACatalogue
from agents.catalog.lookup import find
from agents.catalog.store import SyncReport, reprice, store
from agents.llm import http, openrouter_replies, replies
from agents.llm.errors import LLMError, ProviderUnavailable
from agents.llm.openrouter import HEADERS, OpenRouterProvider
from agents.llm.retries import Deadline, RetryPolicy, retrying
from agents.llm.signs import Sent

logger = logging.getLogger(__name__)

LIST_S = 30.0  # for the model list, about a megabyte
REFRESH_S = 5.0  # for refreshing one model, while a call waits for it
ENDPOINTS_S = 20.0  # for the endpoints of all models in use together
ENDPOINTS_AT_ONCE = 4
MAX_IN_USE = 100
RETRIES = RetryPolicy(attempts=3)


class CatalogNotSynced(Exception):
    """OpenRouter's list could not be fetched or was rejected; the catalog is unchanged."""


async def sync(
    in_use: Iterable[str] = (), *, now: datetime | None = None, accept_fewer: bool = False
) -> SyncReport:
    """Update the catalog, including endpoint facts for the models in use.

    `accept_fewer` accepts a list with less than half of the models known so far.

    Raises:
        CatalogNotSynced: the list could not be fetched or was rejected; nothing has changed.
        django.db.Error: the database does not answer, and nothing has changed.
    """
    body = await _listed_models()
    try:
        # In a thread, because parsing some hundred entries would block the event loop.
        listing = await asyncio.to_thread(Listing.from_payload, body)
        facts = await _endpoint_facts(in_use, listing)
        report = await sync_to_async(store)(
            listing, facts, now=now or timezone.now(), accept_fewer=accept_fewer
        )
    except NotACatalogue as error:
        raise CatalogNotSynced(f"OpenRouter's model list was rejected: {error}") from error
    logger.info(
        "catalogue: models=%d new=%d vanished=%d returned=%d skipped=%d",
        *(report.listed, len(report.new), len(report.vanished)),
        *(len(report.returned), report.skipped),
    )
    return report


async def refresh(model_id: str) -> bool:
    """Update one model's price and limits from OpenRouter, and return whether that succeeded.

    Returns False if the model is not in the catalog, or if OpenRouter's answer is missing or
    invalid.

    Raises:
        django.db.Error: the database does not answer, and nothing has changed.
    """
    known = await sync_to_async(find)(model_id)
    if known is None:
        return False
    try:
        path = f"/model/{quote(model_id, safe='/:~')}"
        body = await _fetched(path, Deadline.in_seconds(REFRESH_S))
        entry = Entry.from_payload(replies.mapping(replies.mapping(body).get("data")))
    except (LLMError, NotACatalogue) as error:
        logger.warning("model=%s: its price now is not known: %s", model_id, error)
        return False
    await sync_to_async(reprice)(known.pk, entry)
    return True


def sync_and_wait(
    in_use: Iterable[str] = (), *, now: datetime | None = None, accept_fewer: bool = False
) -> SyncReport:
    """Run `sync` from synchronous code, such as a view or a command; raises as `sync`."""
    return async_to_sync(sync)(in_use, now=now, accept_fewer=accept_fewer)


async def _listed_models() -> Any:
    try:
        return await _fetched("/models", Deadline.in_seconds(LIST_S))
    except LLMError as error:
        raise CatalogNotSynced(f"Couldn't fetch OpenRouter's model list: {error}") from error
    except NotACatalogue as error:
        raise CatalogNotSynced(f"Couldn't read OpenRouter's model list: {error}") from error


async def _endpoint_facts(in_use: Iterable[str], listing: Listing) -> dict[str, EndpointFacts]:
    """Fetch endpoint facts for the models in use; models without a valid answer are left out."""
    wanted = {_listed_id(model_id, listing) for model_id in in_use} - {""}
    deadline, places = Deadline.in_seconds(ENDPOINTS_S), asyncio.Semaphore(ENDPOINTS_AT_ONCE)
    facts: dict[str, EndpointFacts] = {}

    async def ask(model_id: str) -> None:
        async with places:
            try:
                body = await _fetched(f"/models/{quote(model_id, safe='/:~')}/endpoints", deadline)
                facts[model_id] = EndpointFacts.from_payload(body)
            except (LLMError, NotACatalogue) as error:
                logger.warning("model=%s: its endpoints are not known: %s", model_id, error)

    async with asyncio.TaskGroup() as group:
        for model_id in sorted(wanted)[:MAX_IN_USE]:
            group.create_task(ask(model_id), name=f"endpoints of {model_id}")
    return facts


def _listed_id(model_id: str, listing: Listing) -> str:
    base = model_id.partition(":")[0]
    return next((name for name in (model_id, base) if name in listing.entries), "")


async def fetched_once(path: str, within_s: float) -> Any:
    """Fetch a public path without retries; raises as `_fetched`."""
    return await _asked(_request(path), Deadline.in_seconds(within_s))


async def _fetched(path: str, deadline: Deadline) -> Any:
    """Fetch a public path, with retries, and return its parsed JSON.

    Raises:
        LLMError: there was no answer, or a refusal.
        NotACatalogue: the answer cannot be decoded, is not JSON, or is larger than 8 MB.
    """
    request = _request(path)
    return await retrying(lambda: _asked(request, deadline), policy=RETRIES, deadline=deadline)


def _request(path: str) -> http.Request:
    return http.Request(
        base_url=OpenRouterProvider.configured_url(),
        path=path,
        method="GET",
        headers=HEADERS,
    )


async def _asked(request: http.Request, deadline: Deadline) -> Any:
    try:
        reply = await http.send(request, api_key=None, deadline_s=deadline.remaining_s)
    except ProviderUnavailable as error:
        error.retryable = True  # a read costs nothing, even if the request had been sent
        raise
    if reply.status != 200:
        raise openrouter_replies.refusal(reply, Sent())
    if reply.flaw:
        raise NotACatalogue(reply.flaw)
    return reply.body
