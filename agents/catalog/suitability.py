"""Check, before an override is saved, that its model exists and can do what its agent needs.

A catalog of the last 24 hours that lists the model decides by its facts. Otherwise OpenRouter is
asked about this one model. If it does not answer, or if there is no catalog at all (an
installation without access to OpenRouter's list), the model cannot be checked. That is reported and
refuses nothing, because an operator must be able to change a model during an outage.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote

from asgiref.sync import async_to_sync
from django.conf import settings
from django.utils import timezone

from agents.base import Needs
from agents.catalog.entries import Entry, NotACatalogue
from agents.catalog.feed import fetched_once
from agents.catalog.fit import cannot
from agents.catalog.lookup import find
from agents.llm import replies
from agents.llm.errors import LLMError
from agents.models import CatalogModel, Suitability, check_models_with
from agents.registry import default_registry

logger = logging.getLogger(__name__)

CURRENT_FOR = timedelta(hours=24)
ASKED_WITHIN_S = 3.0  # an operator waits for it
# Variants of every model: they choose among its endpoints (https://openrouter.ai/docs). All others,
# such as `:free`, exist for some models only, and are listed.
_VARIANTS_OF_ALL = {"nitro", "floor", "online", "exacto"}
_NO_SUCH_MODEL = "OpenRouter has no model with this ID"
_NO_LONGER_OFFERED = "no longer offered"


def suitability(agent_name: str, model_id: str) -> Suitability:
    """Return what is known against using a model for an agent; may wait 3 s for OpenRouter.

    Raises:
        django.db.Error: the database does not answer.
    """
    if settings.SHARED_SERVER != "openrouter":
        return Suitability()  # no catalog describes the models of another server
    base, is_preset, _ = model_id.partition("@preset/")
    if is_preset:
        of_base = suitability(agent_name, base) if base else Suitability()
        return replace(of_base, unchecked="Only OpenRouter knows what a preset changes.")
    newest = CatalogModel.objects.order_by("-last_seen_at").values_list("last_seen_at", flat=True)
    synced_at = newest.first()
    if synced_at is None:
        return Suitability(unchecked="The catalog is empty.")
    needs = _needs(agent_name)
    known = find(model_id)
    is_current = timezone.now() - synced_at < CURRENT_FOR
    if known is not None and is_current and _is_listed_with_its_variant(known, model_id):
        gone = [_NO_LONGER_OFFERED] if known.vanished_at is not None else []
        return Suitability(problems=(*gone, *cannot(known, needs)))
    try:
        found = async_to_sync(_asked_about)(model_id)
    except (LLMError, NotACatalogue) as error:
        logger.warning("model=%s: it cannot be checked: %s", model_id, error)
        # What an old entry says that a model cannot do holds all the same.
        problems = tuple(cannot(known, needs)) if known is not None else ()
        return Suitability(problems=problems, unchecked="OpenRouter doesn't answer.")
    if found is None:
        return Suitability(problems=(_NO_SUCH_MODEL,))
    return Suitability(problems=tuple(cannot(found, needs)))


def _needs(agent_name: str) -> Needs:
    registry = default_registry()
    return registry.get(agent_name).needs if agent_name in registry else Needs(json_schema=False)


def _is_listed_with_its_variant(known: CatalogModel, model_id: str) -> bool:
    variant = model_id.partition(":")[2]
    listed = (known.model_id.casefold(), known.canonical_slug.casefold())
    return model_id.casefold() in listed or variant in _VARIANTS_OF_ALL


async def _asked_about(model_id: str) -> CatalogModel | None:
    """Ask OpenRouter about one model; return it, not stored, or None if there is no such model.

    Raises:
        LLMError, NotACatalogue: there was no answer, or none that can be read.
    """
    base, _, variant = model_id.partition(":")
    path = base if variant in _VARIANTS_OF_ALL else model_id
    try:
        body = await fetched_once(f"/model/{quote(path, safe='/:~')}", ASKED_WITHIN_S)
    except LLMError as error:
        if error.http_status == 404:
            return None
        raise
    entry = Entry.from_payload(replies.mapping(replies.mapping(body).get("data")))
    return CatalogModel(**entry.as_fields())


check_models_with(suitability)
